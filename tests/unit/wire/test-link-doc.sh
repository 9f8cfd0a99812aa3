#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docs/link.md says what wire/frames.tbl.h and wire/errors.tbl.h say; and the check does notice when it does not.
set -eu
src=${BUSBAR_SRC:?}
python=${PYTHON3:-python3}
command -v "$python" >/dev/null || { echo "python3 was not found"; exit 77; }
"$python" "$src/tools/link-doc" --check "$src"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/docs" "$tmp/wire"
cp "$src/docs/link.md" "$tmp/docs/"
cp "$src/wire/frames.tbl.h" "$src/wire/errors.tbl.h" "$tmp/wire/"
chmod -R u+w "$tmp"
sed -i 's/FIELD(str, pattern)/FIELD(str, pattern) FIELD(u64, planted)/' "$tmp/wire/frames.tbl.h"
if out=$("$python" "$src/tools/link-doc" --check "$tmp"); then
    echo "a new field was not noticed"
    exit 1
fi
case $out in *planted*) ;; *) echo "the difference is not shown: $out"; exit 1 ;; esac
"$python" "$src/tools/link-doc" "$tmp"
grep -q planted "$tmp/docs/link.md"
"$python" "$src/tools/link-doc" --check "$tmp"
sed -i 's/(subscribed, SUBSCRIBED, 11,/(subscribed, SUBSCRIBED, 10,/' "$tmp/wire/frames.tbl.h"
if "$python" "$src/tools/link-doc" --check "$tmp" 2>/dev/null; then
    echo "two frames of one number were not noticed"
    exit 1
fi
