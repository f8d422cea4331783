package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A case is one line: kind, Fieldprint's verdict (good or bad), base64 of the input. For notes
// and checkpoints two lines "key" come first: the log's vkey and the cosigner's.
type judgeState struct {
	keys    []note.Verifier
	allowed map[string]int
}

func judge(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	state := judgeState{allowed: map[string]int{}}
	counts := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<22)
	for number := 1; lines.Scan(); number++ {
		words := strings.Split(lines.Text(), " ")
		if len(words) != 3 {
			return fmt.Errorf("%s:%d: bad line", path, number)
		}
		if words[0] == "key" {
			if err := state.addKey(words[1], words[2]); err != nil {
				return err
			}
			continue
		}
		data, err := base64.StdEncoding.DecodeString(words[2])
		if err != nil {
			return err
		}
		if err := state.compare(words[0], words[1] == "good", string(data)); err != nil {
			return fmt.Errorf("%s:%d: %w", path, number, err)
		}
		counts[words[0]+" "+words[1]]++
	}
	for _, kind := range []string{"note", "checkpoint", "leaf", "tree", "tile", "vkey"} {
		if counts[kind+" good"] == 0 || counts[kind+" bad"] < 100 {
			return fmt.Errorf("%s: too few cases of %s: %v", path, kind, counts)
		}
	}
	fmt.Printf("cases %v\nallowed differences %v\n", counts, state.allowed)
	return lines.Err()
}

func (s *judgeState) addKey(kind, vkey string) error {
	var v note.Verifier
	var err error
	if kind == "log" {
		v, err = note.NewVerifier(vkey)
	} else {
		v, err = newCosigner(vkey)
	}
	s.keys = append(s.keys, v)
	return err
}

func (s *judgeState) compare(kind string, ours bool, input string) error {
	err := s.goVerdict(kind, input)
	if ours == (err == nil) {
		return nil
	}
	if ours {
		return fmt.Errorf("%s: Fieldprint accepts, Go says %v: %q", kind, err, input)
	}
	// Fieldprint is stricter in these ways only (docs/formats/note.md).
	for _, difference := range differences {
		if difference.holds(s, kind, input) {
			s.allowed[difference.name]++
			return nil
		}
	}
	return fmt.Errorf("%s: Go accepts, Fieldprint does not: %q", kind, input)
}

var differences = []struct {
	name  string
	holds func(s *judgeState, kind, input string) bool
}{
	{"base64 with a second spelling", func(s *judgeState, kind, input string) bool {
		return kind != "tile" && hasLooseBase64(kind, input)
	}},
	{"control character in a key name", func(s *judgeState, kind, input string) bool {
		return kind != "tile" && strings.IndexFunc(input, isControl) >= 0
	}},
	{"key id in upper case", func(s *judgeState, kind, input string) bool {
		parts := strings.SplitN(input, "+", 3)
		return kind == "vkey" && len(parts) == 3 && strings.ToLower(parts[1]) != parts[1]
	}},
	{"second signature of a known key fails", func(s *judgeState, kind, input string) bool {
		return (kind == "note" || kind == "checkpoint") && s.secondSignatureFails(input)
	}},
}

func isControl(r rune) bool { return r < 0x20 && r != '\n' || r == 0x7f }

func isLoose(word string) bool {
	_, loose := base64.StdEncoding.DecodeString(word)
	_, strict := base64.StdEncoding.Strict().DecodeString(word)
	return loose == nil && (strict != nil || strings.ContainsAny(word, "\r\n"))
}

func hasLooseBase64(kind, input string) bool {
	if kind == "vkey" {
		parts := strings.SplitN(input, "+", 3)
		return len(parts) == 3 && isLoose(parts[2])
	}
	for _, line := range strings.Split(input, "\n") {
		for _, word := range strings.Split(line, " ") {
			if isLoose(word) {
				return true
			}
		}
	}
	return false
}

// Go skips every signature of a known key but the first; Fieldprint checks them all.
func (s *judgeState) secondSignatureFails(input string) bool {
	split := strings.LastIndex(input, "\n\n")
	if split < 0 || !utf8.ValidString(input) {
		return false
	}
	for _, line := range strings.Split(input[split+2:], "\n") {
		single := input[:split+2] + line + "\n"
		if _, err := note.Open([]byte(single), note.VerifierList(s.keys...)); err != nil {
			if _, invalid := err.(*note.InvalidSignatureError); invalid {
				return true
			}
		}
	}
	return false
}

func (s *judgeState) goVerdict(kind, input string) error {
	switch kind {
	case "vkey":
		_, err := note.NewVerifier(input)
		return err
	case "tile":
		return parseTile(input)
	case "note", "checkpoint":
		n, err := note.Open([]byte(input), note.VerifierList(s.keys...))
		if err == nil && kind == "checkpoint" {
			_, _, err = parseCheckpoint(n.Text)
		}
		return err
	case "leaf", "tree":
		return checkProof(kind, input)
	}
	return fmt.Errorf("unknown kind %q", kind)
}

// parseTile gives x/mod the path in its own form, with the height.
func parseTile(path string) error {
	rest := strings.TrimPrefix(path, "tile/")
	if rest == path {
		return fmt.Errorf("no tile path")
	}
	if strings.HasPrefix(rest, "data/") {
		return fmt.Errorf("C2SP says entries, not data")
	}
	if tail := strings.TrimPrefix(rest, "entries/"); tail != rest {
		rest = "data/" + tail
	}
	tile, err := tlog.ParseTilePath("tile/8/" + rest)
	if err == nil && tile.L > 63 {
		err = fmt.Errorf("level over 63")
	}
	return err
}

// checkProof reads "SIZE NUMBER ROOT HASH HASHES": HASH is the leaf's, or the old root.
func checkProof(kind, input string) error {
	words := strings.Split(input, " ")
	if len(words) != 5 {
		return fmt.Errorf("bad case %q", input)
	}
	size, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return err
	}
	number, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return err
	}
	fixed, err := parseHashes(words[2] + "," + words[3])
	if err != nil || len(fixed) != 2 {
		return fmt.Errorf("bad hashes (%v)", err)
	}
	proof, err := parseHashes(words[4])
	if err != nil {
		return err
	}
	if kind == "leaf" {
		return tlog.CheckRecord(proof, size, fixed[0], number, fixed[1])
	}
	return tlog.CheckTree(proof, size, fixed[0], number, fixed[1])
}
