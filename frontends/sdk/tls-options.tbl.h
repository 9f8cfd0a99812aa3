/* SPDX-License-Identifier: Apache-2.0 */
/* Group tls of each frontend's section (ws.tls.listen, ...). ENUM choices stand in the order of enum
 * tls_min_version. Columns: base/conf.h. */
OPTION("listen", ADDRESS, listen, RESTART, "", "", "", "0.0.0.0:8443",
    "Where to listen for clients that speak TLS, besides the plain address: host:port, [v6]:port, or *:port. "
    "Empty: nowhere.")
OPTION("certificate", PATH, certificate, LIVE, "", "0", "4096", "/etc/busbar/tls/fullchain.pem",
    "The file with the certificate in PEM, those of its issuers behind it. A reload reads it again; who is connected stays.")
OPTION("key", PATH, key, LIVE, "", "0", "4096", "/etc/busbar/tls/key.pem",
    "The file with its private key in PEM, without a passphrase. The user that the frontend runs as must be able to read it, "
    "at a reload too. Empty: it stands in the certificate's file.")
OPTION("client_ca", PATH, client_ca, LIVE, "", "0", "4096", "/etc/busbar/tls/clients-ca.pem",
    "The file with the certificates, in PEM, of those who issue the certificates that clients must show. "
    "Empty: clients are not asked for one.")
OPTION("min_version", ENUM, min_version, LIVE, "1.2", "", "", "1.2|1.3", "The oldest version of TLS that is spoken.")
OPTION("ciphers", STRING, ciphers, LIVE, "", "0", "4096", "ECDHE+AESGCM:ECDHE+CHACHA20",
    "What TLS 1.2 may encrypt with, as openssl-ciphers(1) lists it. Empty: what OpenSSL holds for safe.")
OPTION("ciphersuites", STRING, ciphersuites, LIVE, "", "0", "4096", "TLS_AES_128_GCM_SHA256",
    "What TLS 1.3 may encrypt with, likewise.")
OPTION("handshake_timeout", TIME, handshake_timeout_ms, LIVE, "10s", "100ms", "5m", "",
    "How long a client may take to agree upon TLS before it is closed.")
OPTION("handshakes", COUNT, handshakes, LIVE, "1000", "1", "1000000", "",
    "How many clients may be about to do so at once, for each process. More wait to be accepted.")
#undef OPTION
