package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// cosigner verifies cosignature/v1, which golang.org/x/mod does not know: the key id has type
// byte 0x04, the blob is a big-endian time and an Ed25519 signature.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	when := binary.BigEndian.Uint64(sig)
	if when > 1<<63-1 {
		return false
	}
	text := fmt.Sprintf("cosignature/v1\ntime %d\n%s", when, msg)
	return ed25519.Verify(c.key, []byte(text), sig[8:])
}

func newCosigner(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("vkey %q has not three parts", vkey)
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		return nil, fmt.Errorf("vkey %q is no Ed25519 cosigner's", vkey)
	}
	id := sha256.Sum256([]byte(parts[0] + "\n" + string(key)))
	hash := binary.BigEndian.Uint32(id[:4])
	if fmt.Sprintf("%08x", hash) != parts[1] {
		return nil, fmt.Errorf("vkey %q has another id", vkey)
	}
	return &cosigner{parts[0], hash, key[1:]}, nil
}

// parseCheckpoint lets x/mod read the tree, which knows only its own origin, and adds what
// C2SP asks for beyond it.
func parseCheckpoint(text string) (origin string, tree tlog.Tree, err error) {
	end := strings.IndexByte(text, '\n')
	if end <= 0 {
		return "", tree, fmt.Errorf("no origin")
	}
	tree, err = tlog.ParseTree([]byte("go.sum database tree" + text[end:]))
	if err != nil {
		return "", tree, err
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, extension := range lines[3:] {
		if extension == "" {
			return "", tree, fmt.Errorf("empty extension line")
		}
	}
	if tree.N == 0 && tree.Hash != tlog.Hash(sha256.Sum256(nil)) {
		return "", tree, fmt.Errorf("root of an empty tree")
	}
	return text[:end], tree, nil
}

// openCheckpoint wants the log's signature and one of every cosigner.
func openCheckpoint(msg []byte, vkey string, cosigners []string) (tlog.Tree, error) {
	log, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	verifiers := []note.Verifier{log}
	for _, text := range cosigners {
		witness, err := newCosigner(text)
		if err != nil {
			return tlog.Tree{}, err
		}
		verifiers = append(verifiers, witness)
	}
	n, err := note.Open(msg, note.VerifierList(verifiers...))
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(n.Sigs) != len(verifiers) {
		return tlog.Tree{}, fmt.Errorf("%d of %d keys signed", len(n.Sigs), len(verifiers))
	}
	origin, tree, err := parseCheckpoint(n.Text)
	if err == nil && origin != log.Name() {
		err = fmt.Errorf("origin %q is not the key's name %q", origin, log.Name())
	}
	if err == nil && !bytes.HasPrefix(msg, []byte(origin+"\n"+strconv.FormatInt(tree.N, 10)+"\n")) {
		err = fmt.Errorf("checkpoint does not begin with origin and size")
	}
	return tree, err
}
