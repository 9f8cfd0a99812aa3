#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check-layers passes on the tree as it is and names each violation that is planted in a copy of a small one.
set -eu
src=${BUSBAR_SRC:?}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$src/tools/check-layers" "$src"

# plant FILE TEXT: the check must fail and name the file.
plant() {
    rm -rf "$tmp/tree"
    mkdir -p "$tmp/tree/$(dirname "$1")"
    printf '%s\n' "$2" >"$tmp/tree/$1"
    if out=$("$src/tools/check-layers" "$tmp/tree" 2>&1); then
        echo "not noticed: $1: $2"
        exit 1
    fi
    case $out in *"$1"*) ;; *) echo "the complaint about $1 does not name it: $out"; exit 1 ;; esac
}
plant base/loop.c '#include "wire/frame.h"'
plant wire/link.c '#include "broker/topic.h"'
plant broker/topic.c '#include "frontends/sdk/hub.h"'
plant broker/topic.c '#include <nanomsg/nn.h>'
plant broker/topic.c '/* for WebSocket clients */'
plant frontends/sdk/hub.c '#include "frontends/dialects/dialect.h"'
plant frontends/dialects/native/json.c '#include <sys/socket.h>'
plant frontends/dialects/native/json.c '#include "frontends/sdk/conn.h"'
plant frontends/ws/server.c 'frame_put_publish(b, &f);'
plant frontends/ws/server.c '#include "broker/topic.h"'
plant backends/memory/memory.c '#include "broker/topic.h"'
plant clients/c/client.c '#include "frontends/sdk/session.h"'
plant cli/up.c '#include "broker/topic.h"'
echo "each of the planted violations was named"
