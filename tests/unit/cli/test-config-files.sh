#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is made from the option tables is as they are now, and what stands beside them works: the sample file, the
# manual's list, the completion.
set -u
src=${BUSBAR_SRC:?} busbar=${BUSBAR_BUILD:?}/cli/busbar
failed=0
fail() { echo "FAILED: $*"; failed=1; }

"$src/tools/update-config" --check "$busbar" || fail "generated files are not current"
"$busbar" check-config "$src/etc/busbar.yaml" || fail "the sample is refused"

# An option with its # taken away is still the default: nothing to complain of.
sed -E '/^#include/!s/^( *)#([^ ]|  )/\1\2/' "$src/etc/busbar.yaml" > "sample-$$.yaml"
"$busbar" check-config "sample-$$.yaml" || fail "the sample with every option in force is refused"
rm -f "sample-$$.yaml"

complete_line() { # WORDS... ; the last one is to be completed
    COMP_WORDS=("$busbar" "$@") COMP_CWORD=$#
    _busbar
    echo "${COMPREPLY[*]}"
}
# shellcheck source=/dev/null
. "$src/etc/completion/busbar"
[[ $(complete_line check) == check-config ]] || fail "completion of a command: $(complete_line check)"
[[ $(complete_line up --set ws.lis) == ws.listen= ]] || fail "completion of an option: $(complete_line up --set ws.lis)"
[[ $(complete_line up --set runt) == runtime_dir= ]] || fail "completion at the top level"

if command -v mandoc > /dev/null; then
    mandoc -Tlint -Wwarning "$src/docs/man/busbar.1" "$src/docs/man/busbar.yaml.5" || fail "mandoc has warnings"
fi
exit $failed
