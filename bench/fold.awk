# The lines of `perf report -F overhead,dso,symbol`, put together in groups; then the functions with the most samples.
function group(dso, symbol) {
    if (dso ~ /kernel/ || dso ~ /^\[k/) return symbol ~ /copy_(to|from|page|user)|_copy_|memcpy|rep_movs/ ? "the kernel's copies" : "the rest of the kernel: UDP, scheduling"
    # Every byte that comes is compared.
    if (symbol ~ /tercel_bench|memcmp|bcmp/) return "the measuring program"
    if (symbol ~ /^(mem(cpy|move|set)|__mem|_mem)/) return "copies in user space"
    if (symbol ~ /malloc|calloc|realloc|_int_free|^c?free|unlink_chunk|je_|__rust_(alloc|dealloc)|bytes::|alloc::sync/) return "allocation, reference counts"
    if (symbol ~ /(tercel_proto|tercel_wire|quinn_proto|noq_proto|s2n_quic_(transport|core)|quiche|tquic|Quic)/) return "the protocol: packets, frames, recovery, streams"
    if (symbol ~ /aws_lc|rustls|aes|gcm|ghash|EVP|CRYPTO|chacha|25519|ecdsa|p256|ec_|bn_|sha(256|512)|SSL|OPENSSL|BORING|ring_|iv_len|aead|jent/) return "packet protection, TLS"
    if (symbol ~ /(tercel|quinn|noq|s2n_quic|tokio|mio|msquic|Cxplat|CxPlat)/) return "workers, events, sockets"
    return "the rest"
}
/^ *[0-9.]+%/ {
    share = $1 + 0
    dso = $2
    symbol = ""
    for (at = 4; at <= NF; at++) symbol = symbol (at > 4 ? " " : "") $at
    of[group(dso, symbol)] += share
    if (shown++ < 15) functions = functions sprintf("  %5.1f %%  %s\n", share, symbol)
}
END {
    number = split("the protocol: packets, frames, recovery, streams|packet protection, TLS|the kernel's copies|the rest of the kernel: UDP, scheduling|copies in user space|allocation, reference counts|workers, events, sockets|the measuring program|the rest", names, "|")
    for (at = 1; at <= number; at++) printf "%5.1f %%  %s\n", of[names[at]], names[at]
    printf "of which the most:\n%s", functions
}
