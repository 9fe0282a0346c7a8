/* What each program here is: a function that is given the table. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <msquic.h>

#ifdef __cplusplus
extern "C"
#endif
/*
 * 0 if all went well. `port`: -1 for both ends, 0 for the server alone (it says its port, and serves until its input
 * ends), else that of the server to visit.
 */
int run(const QUIC_API_TABLE *quic, const char *chain, const char *key, int port);

#endif
