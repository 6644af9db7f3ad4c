#!/usr/bin/env python3
"""Reads a partition's segment files with kafka-python's record parser.

usage: read_segments.py PARTITION_DIRECTORY LINES

Checks every batch's CRC, that offsets are without a gap from 0 on, that the records are the numbered
lines of wavetank-ci-clients (duplicates allowed, order of first occurrence ascending), and that the
offset index of each segment points at batches. Prints figures; exits 1 with a reason otherwise.
"""

import pathlib
import struct
import sys

from kafka.record.memory_records import MemoryRecords


def fail(reason):
    print(f"read_segments.py: {reason}", file=sys.stderr)
    sys.exit(1)


def check_index(log, base, starts):
    """Entries are (relative offset, position), ascending, each at the start of a batch."""
    index = log.with_suffix(".index").read_bytes()
    last = (-1, -1)
    count = 0
    for relative, position in struct.iter_unpack(">ii", index[: len(index) // 8 * 8]):
        if (relative, position) == (0, 0) and count > 0:
            break  # the unused rest of a preallocated index
        if relative <= last[0] or position <= last[1]:
            fail(f"{log.with_suffix('.index')}: entries must ascend, {(relative, position)} after {last}")
        batch = starts.get(position)
        if batch is None:
            fail(f"{log.with_suffix('.index')}: no batch starts at {position}")
        first, final = batch
        if not first <= base + relative <= final:
            fail(f"{log.with_suffix('.index')}: offset {base + relative} is not in the batch at {position}")
        last = (relative, position)
        count += 1
    return count


def main(directory, lines):
    logs = sorted(pathlib.Path(directory).glob("*.log"))
    if not logs:
        fail(f"no segment in {directory}")
    next_offset, batches, entries, seen, last_first = 0, 0, 0, set(), -1
    for log in logs:
        base = int(log.stem)
        if base != next_offset:
            fail(f"{log}: starts at {base}, expected {next_offset}")
        data = log.read_bytes()
        records, position, starts = MemoryRecords(data), 0, {}
        while records.has_next():
            batch = records.next_batch()
            if not batch.validate_crc():
                fail(f"{log}: wrong CRC of the batch at {position}")
            first = next_offset
            for record in batch:
                if record.offset != next_offset:
                    fail(f"{log}: offset {record.offset}, expected {next_offset}")
                next_offset += 1
                number = int(record.value.decode().removeprefix("line "))
                if number not in seen:
                    if number < last_first:
                        fail(f"{log}: line {number} first occurs after line {last_first}")
                    seen.add(number)
                    last_first = number
            starts[position] = (first, next_offset - 1)
            (length,) = struct.unpack(">i", data[position + 8 : position + 12])
            position += 12 + length
            batches += 1
        if position != len(data):
            fail(f"{log}: {len(data) - position} bytes after the last batch")
        entries += check_index(log, base, starts)
    if seen != set(range(lines)):
        fail(f"only {len(seen)} of {lines} lines were found")
    print(
        f"   kafka-python reads {next_offset} records in {batches} batches of {len(logs)} segments, "
        f"{next_offset - lines} duplicates; {entries} index entries point at batches"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]))
