/* A program of its own around one of the others: `PROGRAM CHAIN KEY [serve | PORT]`, linked with libmsquic. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **arguments) {
    const void *table;
    if (count < 3 || QUIC_FAILED(MsQuicOpenVersion(QUIC_API_VERSION_2, &table))) return 2;
    int port = -1;
    if (count > 3) port = strcmp(arguments[3], "serve") ? atoi(arguments[3]) : 0;
    int wrong = run((const QUIC_API_TABLE *)table, arguments[1], arguments[2], port);
    MsQuicClose(table);
    if (!wrong && port) puts("ok");
    return wrong != 0;
}
