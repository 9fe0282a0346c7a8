/* A program of its own around one of the others: `PROGRAM CHAIN KEY`, linked with libmsquic. */
#include "quic.h"

#include <stdio.h>

int main(int count, char **arguments) {
    const void *table;
    if (count != 3 || QUIC_FAILED(MsQuicOpenVersion(2, &table))) return 2;
    int wrong = run(table, arguments[1], arguments[2]);
    MsQuicClose(table);
    if (wrong) fprintf(stderr, "failed at line %d\n", wrong);
    else puts("ok");
    return wrong != 0;
}
