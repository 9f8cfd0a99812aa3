/* SPDX-License-Identifier: Apache-2.0 */
/* Section jwt. Columns: base/conf.h. ENUM choices stand in the order of enum jwt_algorithm. */
OPTION("algorithm", ENUM, algorithm, LIVE, "HS256", "", "", "HS256|HS384|HS512|RS256|ES256|EdDSA",
    "The one algorithm that tokens may be signed with.")
OPTION("key_file", PATH, key_file, LIVE, "", "0", "4096", "/etc/busbar/jwt.key",
    "The file with the key: the secret of HS256, HS384 and HS512 (16 bytes or more), else the public key in "
    "PEM. It is read again "
    "by a reload. Without a key no tokens are asked for.")
OPTION("key_env", STRING, key_env, LIVE, "", "0", "128", "BUSBAR_JWT_KEY",
    "The variable of the environment that holds it, instead of a file.")
OPTION("param", STRING, param, LIVE, "jid", "1", "64", "",
    "The parameter of the address that holds the token; the header is X- and this name. Action Cable clients "
    "may also "
    "give it as a subprotocol, anycable-token.TOKEN.")
OPTION("issuer", STRING, issuer, LIVE, "", "0", "256", "https://app.example.com",
    "Who must have issued it (iss); empty for anybody who has the key.")
OPTION("audience", STRING, audience, LIVE, "", "0", "256", "busbar",
    "Whom it must be for (aud); empty for anybody.")
OPTION("leeway", TIME, leeway_ms, LIVE, "0", "0", "1h", "",
    "How much the clock of who issues tokens may differ.")
OPTION(
    "required", BOOL, required, LIVE, "true", "", "", "", "Whether a client without a token is turned away.")
#undef OPTION
