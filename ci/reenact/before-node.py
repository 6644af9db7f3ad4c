#!/usr/bin/env python3
"""A server of an earlier commit as a node that `wavetank reenact --program` can start.

BEFORE names its binary. It knows neither --format nor --notes nor the newer settings: what it does not
know is left out. Its log says when a controller fences a broker, which it did at the end of a session only;
those lines become notes. All else is judged by what clients see and by the process itself.
"""

import os
import re
import sys
import time

UNKNOWN = ("cluster.id", "peer.address.overrides")
FENCED = re.compile(r'name="broker_fenced" .*broker: NodeId\((\d+)\)')


def main():
    given = sys.argv[1:]
    value = {name: given[given.index(name) + 1] for name in ("--data", "--config", "--notes")}
    config = value["--config"] + ".before"
    with open(value["--config"]) as new, open(config, "w") as old:
        old.writelines(line for line in new if not line.startswith(UNKNOWN))
    node = re.search(r"^node\.id = (\d+)", open(config).read(), re.M).group(1)
    # Signals must reach the server, so this process becomes the server, and the child reads its
    # log.
    log, said = os.pipe()
    if os.fork():
        os.dup2(said, 2)
        os.close(log)
        server = os.environ["BEFORE"]
        os.execv(server, [server, "serve", "--data", value["--data"], "--config", config])
    os.close(said)
    with os.fdopen(log) as lines, open(value["--notes"], "w", buffering=1) as notes:
        for line in lines:
            sys.stderr.write(line)
            found = FENCED.search(line)
            if found:
                now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                note = f'{{"session_expired":{{"broker":{found.group(1)}}}}}'
                notes.write(f'{{"at":{now},"node":{node},"note":{note}}}\n')


main()
