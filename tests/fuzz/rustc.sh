#!/bin/sh
# The compiler of the workspace's own crates when they are fuzzed: branches are counted and
# comparisons traced (what libFuzzer steers by), overflows and debug assertions end the program.
# The crates below the workspace are not compiled with it, so they need no second build.
exec "$@" \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cdebug-assertions=on -Coverflow-checks=on -Cdebuginfo=line-tables-only
