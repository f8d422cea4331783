package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

// tilePath maps x/mod's path (tile/8/0/001, tile/8/data/001) to C2SP's.
func tilePath(t tlog.Tile) string {
	path := strings.TrimPrefix(t.Path(), "tile/8/")
	return "tile/" + strings.Replace(path, "data/", "entries/", 1)
}

// folder is a log on disk. A partial tile may have been replaced by the full one.
type folder struct{ dir string }

func (f folder) Height() int                     { return tileHeight }
func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}
func (f folder) read(path string) ([]byte, error) {
	return os.ReadFile(filepath.Join(f.dir, filepath.FromSlash(path)))
}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range tiles {
		data, err := f.read(tilePath(t))
		if errors.Is(err, os.ErrNotExist) && t.W < 1<<tileHeight {
			full := t
			full.W = 1 << tileHeight
			if data, err = f.read(tilePath(full)); err == nil {
				data = data[:t.W*tlog.HashSize]
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

// entries reads one bundle: uint16 length, bytes, until it is used up.
func (f folder) entries(t tlog.Tile) ([][]byte, error) {
	data, err := f.read(tilePath(t))
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s: truncated", tilePath(t))
		}
		size := int(binary.BigEndian.Uint16(data))
		out = append(out, data[2:2+size])
		data = data[2+size:]
	}
	if len(out) != t.W {
		return nil, fmt.Errorf("%s: %d entries, want %d", tilePath(t), len(out), t.W)
	}
	return out, nil
}

func verifyLog(dir, vkey string, cosigners []string) error {
	f := folder{dir}
	msg, err := f.read("checkpoint")
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(msg, vkey, cosigners)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := verifyTiles(f, tree); err != nil {
		return err
	}
	if err := verifyOldCheckpoints(f, tree, vkey, cosigners); err != nil {
		return err
	}
	fmt.Printf("%s: %d leaves, every tile and entry verified\n", dir, tree.N)
	return nil
}

// verifyTiles recomputes every tile of the tree from the entries.
func verifyTiles(f folder, tree tlog.Tree) error {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for n := int64(0); n < tree.N; {
		t := tlog.Tile{H: tileHeight, L: -1, N: n >> tileHeight, W: 1 << tileHeight}
		if left := tree.N - n; left < int64(t.W) {
			t.W = int(left)
		}
		entries, err := f.entries(t)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			hashes, err := tlog.StoredHashes(n, entry, reader)
			if err != nil {
				return err
			}
			stored = append(stored, hashes...)
			n++
		}
	}
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil || root != tree.Hash {
		return fmt.Errorf("entries have root %v, checkpoint %v (%v)", root, tree.Hash, err)
	}
	for level := 0; tree.N>>(tileHeight*uint(level)) > 0; level++ {
		count := tree.N >> (tileHeight * uint(level))
		for n := int64(0); n<<tileHeight < count; n++ {
			t := tlog.Tile{H: tileHeight, L: level, N: n, W: 1 << tileHeight}
			if left := count - n<<tileHeight; left < int64(t.W) {
				t.W = int(left)
			}
			want, err := tlog.ReadTileData(t, reader)
			if err != nil {
				return err
			}
			got, err := f.read(tilePath(t))
			if err != nil || string(got) != string(want) {
				return fmt.Errorf("%s differs (%v)", tilePath(t), err)
			}
		}
	}
	return nil
}

// verifyOldCheckpoints opens DIR/checkpoints/*, which emit_log writes for every size it
// published: through tiles alone, each is a prefix of the log, and each leaf's proof holds.
func verifyOldCheckpoints(f folder, newest tlog.Tree, vkey string, cosigners []string) error {
	names, err := filepath.Glob(filepath.Join(f.dir, "checkpoints", "*"))
	if err != nil {
		return err
	}
	for _, name := range names {
		msg, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		tree, err := openCheckpoint(msg, vkey, cosigners)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		reader := tlog.TileHashReader(tree, f) // checks tiles against the root
		if err := verifyRecords(reader, tree); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		proof, err := tlog.ProveTree(newest.N, tree.N, tlog.TileHashReader(newest, f))
		if err == nil {
			err = tlog.CheckTree(proof, newest.N, newest.Hash, tree.N, tree.Hash)
		}
		if err != nil {
			return fmt.Errorf("%s: not a prefix of the log: %w", name, err)
		}
	}
	return nil
}

func verifyRecords(reader tlog.HashReader, tree tlog.Tree) error {
	step := tree.N/7 + 1
	for n := int64(0); n < tree.N; n += step {
		leaf, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, n)})
		if err != nil {
			return err
		}
		proof, err := tlog.ProveRecord(tree.N, n, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, leaf[0]); err != nil {
			return err
		}
	}
	return nil
}
