// tlogverify judges Fieldprint's logs with code that is not ours: golang.org/x/mod/sumdb/note and
// sumdb/tlog, as Debian packages them. See docs/formats/tiles.md.
//
//	tlogverify log DIR VKEY [COSIGNER-VKEY...]   a log folder: checkpoint, tiles, entry bundles
//	tlogverify proofs FILE                       roots and proofs that emit_log wrote
//	tlogverify judge FILE                        cases with Fieldprint's verdicts (judge_cases)
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tlogverify:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 3 && args[0] == "log":
		return verifyLog(args[1], args[2], args[3:])
	case len(args) == 2 && args[0] == "proofs":
		return verifyProofs(args[1])
	case len(args) == 2 && args[0] == "judge":
		return judge(args[1])
	}
	return fmt.Errorf("usage: tlogverify log DIR VKEY [COSIGNER-VKEY...] | proofs FILE | judge FILE")
}
