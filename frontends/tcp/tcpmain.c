/* SPDX-License-Identifier: Apache-2.0 */
/* busbar-tcp: see tcp.h. */
#include "config.h"

#include "frontends/tcp/tcp.h"

int
main(int argc, char **argv)
{
    return frontend_main(argc, argv, &tcp_kind);
}
