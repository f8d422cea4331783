package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

func parseHashes(text string) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, word := range strings.Split(text, ",") {
		if word == "" || word == "-" {
			continue
		}
		data, err := base64.StdEncoding.DecodeString(word)
		if err != nil || len(data) != tlog.HashSize {
			return nil, fmt.Errorf("bad hash %q", word)
		}
		var h tlog.Hash
		copy(h[:], data)
		hashes = append(hashes, h)
	}
	return hashes, nil
}

// tree holds every stored hash of "leaf 0", "leaf 1", ... and all roots so far.
type tree struct {
	stored []tlog.Hash
	roots  []tlog.Hash
}

func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(t.stored)) {
			return nil, fmt.Errorf("hash %d not stored", x)
		}
		out[i] = t.stored[x]
	}
	return out, nil
}

func (t *tree) grow() (tlog.Hash, error) {
	n := int64(len(t.roots))
	hashes, err := tlog.StoredHashes(n, []byte("leaf "+strconv.FormatInt(n, 10)), t)
	if err != nil {
		return tlog.Hash{}, err
	}
	t.stored = append(t.stored, hashes...)
	root, err := tlog.TreeHash(n+1, t)
	t.roots = append(t.roots, root)
	return root, err
}

// verifyProofs reads lines "root SIZE HASH", in order from 1, "leaf SIZE INDEX HASHES" and
// "tree SIZE OLD HASHES"; each must be what x/mod computes, and x/mod must accept it.
func verifyProofs(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var t tree
	counts := map[string]int{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 3 {
			return fmt.Errorf("bad line %q", lines.Text())
		}
		size, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return err
		}
		hashes, err := parseHashes(words[len(words)-1])
		if err != nil {
			return err
		}
		if err := t.check(words, size, hashes); err != nil {
			return fmt.Errorf("%s %s %s: %w", words[0], words[1], words[2], err)
		}
		counts[words[0]]++
	}
	if counts["root"] < 70000 || counts["leaf"] == 0 || counts["tree"] == 0 {
		return fmt.Errorf("%s has too few lines: %v", path, counts)
	}
	fmt.Printf("%d roots, %d inclusion and %d consistency proofs agree\n", counts["root"],
		counts["leaf"], counts["tree"])
	return lines.Err()
}

func (t *tree) check(words []string, size int64, hashes []tlog.Hash) error {
	if words[0] == "root" {
		root, err := t.grow()
		if err == nil && (size != int64(len(t.roots)) || len(hashes) != 1 || hashes[0] != root) {
			err = fmt.Errorf("want root %v", root)
		}
		return err
	}
	other, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil {
		return err
	}
	var want []tlog.Hash
	root := t.roots[size-1]
	if words[0] == "leaf" {
		if want, err = tlog.ProveRecord(size, other, t); err == nil {
			leaf := tlog.RecordHash([]byte("leaf " + strconv.FormatInt(other, 10)))
			err = tlog.CheckRecord(hashes, size, root, other, leaf)
		}
	} else {
		if want, err = tlog.ProveTree(size, other, t); err == nil {
			err = tlog.CheckTree(hashes, size, root, other, t.roots[other-1])
		}
	}
	if err == nil && fmt.Sprint(want) != fmt.Sprint(hashes) {
		err = fmt.Errorf("accepted, but x/mod makes another proof")
	}
	return err
}
