#!/usr/bin/env python3
"""The fingerprint format a second time, from docs/formats/fingerprint.md alone.

Prints the page's test vectors; with --check PAGE, exit code 1 if the page does not contain each.
"""
import hashlib
import math
import struct
import sys

HIDDEN, STEP = 96, 15000
SEED = bytes(range(32))


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u32(*values):
    return b"".join(struct.pack("<I", v & 0xFFFFFFFF) for v in values)


def u64(*values):
    return b"".join(struct.pack("<Q", v) for v in values)


def dot(a, b):
    total = 0.0
    for x, y in zip(a, b):
        total += x * y
    return total


def matrix():
    rows = []
    for r in range(32):
        v = []
        for block in range((HIDDEN + 3) // 4):
            d = sha(b"fieldprint/projection/v1\n", SEED, u32(r, block))
            v += [float(bin(int.from_bytes(d[8 * j:8 * j + 8], "big")).count("1") - 32)
                  for j in range(4)]
        v = v[:HIDDEN]
        for _ in range(2):
            for u in rows:
                c = dot(v, u)
                v = [x - c * y for x, y in zip(v, u)]
        norm = math.sqrt(dot(v, v))
        rows.append([x / norm for x in v])
    return [[math.floor(x * 16777216.0 + 0.5) for x in row] for row in rows]


def state(token):
    return [((37 * i + 11 * token) % 101 - 50) / 16 for i in range(HIDDEN)]


def record(rows, x):
    fixed = [math.floor(v * 65536.0 + 0.5) for v in x]
    step = STEP << 24
    codes, sketch = bytearray(), bytearray(8)
    for j, row in enumerate(rows):
        y = sum(p * v for p, v in zip(row, fixed))
        y = min(max(y, -127 * step - step // 2), 127 * step + step // 2 - 1)
        code, rest = divmod(y + step // 2, step)
        codes.append(code & 0xFF)
        sketch[j // 4] |= (4 * rest // step) << (2 * (j % 4))
    return bytes(codes + sketch)


def segment(index, generation, first, gap, previous, salt, tokens, records):
    commitment = sha(b"fieldprint/fingerprint-tokens/v1\n", salt, u32(index, len(tokens), *tokens))
    body = (b"FPS1" + u32(index, generation) + u64(first, gap) + u32(len(records)) + previous +
            commitment + b"".join(records))
    return body, sha(b"fieldprint/fingerprint-segment/v1\n", body)


def masked(salt, name, index, data):
    stream = b"".join(sha(b"fieldprint/segment-mask/v1\n", salt, u32(len(name)), name,
                          u32(index, block)) for block in range((len(data) + 31) // 32))
    return bytes(a ^ b for a, b in zip(data, stream))


def vectors():
    rows = matrix()
    packed = b"".join(struct.pack("<i", v) for row in rows for v in row)
    matrix_digest = sha(b"fieldprint/projection-matrix/v1\n", packed).hex()
    recipe = (f'{{"dims":32,"format":"fieldprint-fingerprint-recipe","hidden":{HIDDEN},'
              f'"matrix_digest":"sha256:{matrix_digest}","seed":"{SEED.hex()}","step":{STEP},'
              f'"tap":"final_norm","version":1}}').encode()
    yield "recipe", recipe.decode()
    yield "recipe digest", hashlib.sha256(recipe).hexdigest()
    yield "row 0, first four", " ".join(str(v) for v in rows[0][:4])
    yield "record of state 0", record(rows, state(0)).hex()
    yield "record of state 1", record(rows, state(1)).hex()
    name, profile, salt = b"resp_1", b"invariant/test", bytes([0x53] * 32)
    genesis = sha(b"fieldprint/fingerprint-chain/v1\n", u32(len(name)), name, salt,
                  bytes([0x4D] * 32), hashlib.sha256(recipe).digest(), bytes(32),
                  u32(len(profile)), profile)
    yield "genesis", genesis.hex()
    records = [record(rows, state(t)) for t in range(40)]
    body, head = segment(0, 0, 0, 0, genesis, salt, list(range(32)), records[:32])
    yield "head after segment 0", head.hex()
    body, head = segment(1, 0, 35, 3, head, salt, list(range(35, 40)), records[35:])
    yield "segment 1", (body + head).hex()
    yield "masked records of segment 1", masked(salt, name, 1, b"".join(records[35:])).hex()


def main():
    lines = [f"{name}: {value}" for name, value in vectors()]
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        with open(sys.argv[2], encoding="utf-8") as page:
            text = page.read()
        missing = [line for line in lines if line not in text]
        for line in missing:
            print(f"not in {sys.argv[2]}: {line}")
        return 1 if missing else 0
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
