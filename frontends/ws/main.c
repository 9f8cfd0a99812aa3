/* SPDX-License-Identifier: Apache-2.0 */
/* busbar-ws: see wsserver.h. */
#include "config.h"

#include "frontends/ws/wsserver.h"

int
main(int argc, char **argv)
{
    return frontend_main(argc, argv, &wsserver_kind);
}
