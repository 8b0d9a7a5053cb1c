#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Report how much of the engine a run of the simulator has executed.

usage: coverage.py SIM ENGINE PROFILE...

A line or branch counts as covered if it was in any of the geometries; they are
compiled separately. Fails if a line or a branch was not.
"""
import json
import os
import subprocess
import sys


def main():
    """Merge the profiles, export, print what is missing and a summary."""
    sim, engine, *profiles = sys.argv[1:]
    merged = sim + '.profdata'
    subprocess.run(['llvm-profdata', 'merge', '-o', merged, *profiles], check=True)
    export = subprocess.run(['llvm-cov', 'export', sim, '-instr-profile=' + merged],
                            check=True, stdout=subprocess.PIPE).stdout
    name = os.path.basename(engine)
    lines = {}
    branches = {}
    for function in json.loads(export)['data'][0]['functions']:
        ours = [os.path.basename(f) == name for f in function['filenames']]
        # Regions nest, the innermost comes last and decides
        here = {}
        for line, _, end, _, count, file, _, kind in function['regions']:
            if ours[file] and kind == 0:
                here.update(dict.fromkeys(range(line, end + 1), count))
        for line, count in here.items():
            lines[line] = lines.get(line, 0) + count
        for line, column, _, _, true, false, file, _, _ in function['branches']:
            if ours[file]:
                old = branches.get((line, column), (0, 0))
                branches[line, column] = old[0] + true, old[1] + false
    for line in sorted(n for n, count in lines.items() if not count):
        print(f'# {name}:{line}: never executed')
    for (line, column), (true, false) in sorted(branches.items()):
        if not true or not false:
            print(f'# {name}:{line}:{column}: never {"false" if true else "true"}')
    ways = [way for both in branches.values() for way in both]
    good = sum(count > 0 for count in lines.values())
    taken = sum(way > 0 for way in ways)
    print(f'# coverage of {name}: {good} of {len(lines)} lines, '
          f'{taken} of {len(ways)} branches')
    return good < len(lines) or taken < len(ways) or not lines


if __name__ == '__main__':
    sys.exit(main())
