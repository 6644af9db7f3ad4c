#!/usr/bin/env python3
"""Puts many mutants into one tree, each behind a switch: ci/mutants builds them once, not one by one.

  mutants-tree.py group LIST NAMES TREE MAP    all of NAMES, chosen by WAVETANK_MUTANT's number
  mutants-tree.py alone LIST NAME TREE         one mutant, without a switch
  mutants-tree.py blame MAP ERRORS             the mutants that caused a failed build

LIST is what `cargo mutants --list --json` says, NAMES a file with a name on each line. A function with
mutants 3 and 7 becomes

    fn f(..) { if crate::mutant(3) { its body with edit 3 } else if crate::mutant(7) { .. } else { its body } }

so the same binary is every mutant, and the right program when WAVETANK_MUTANT is not set. MAP says
which lines of the tree belong to which mutant, so that a compiler's error names it. Not every mutant
can live behind a switch (a `const fn`, bodies of two different opaque types): `blame` names these, and
they are built alone. Needs nothing but Python.
"""

import json
import re
import sys

SWITCH = """
// The core does without the standard library; this has to ask the environment.
extern crate std;

/// Is this the mutant that `WAVETANK_MUTANT` asks for?
pub(crate) fn mutant(number: u32) -> bool {
    static WANTED: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *WANTED.get_or_init(|| match std::env::var("WAVETANK_MUTANT") {
        Ok(number) => number.parse().expect("WAVETANK_MUTANT is a number"),
        Err(_) => 0,
    }) == number
}
"""

# Tokens in which a brace does not count: comments, strings, characters (but not lifetimes).
QUOTED = re.compile(
    r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\[^\n]+?|[^\\\n])\'', re.S
)


def mutants(path):
    with open(path) as file:
        return {mutant["name"]: mutant for mutant in json.load(file)}


def offset(text, at):
    """The offset of a line and column, both counted from 1, columns in characters."""
    start = 0
    for _ in range(at["line"] - 1):
        start = text.index("\n", start) + 1
    return start + at["column"] - 1


def span(text, span):
    return offset(text, span["start"]), offset(text, span["end"])


def body_of(text, start, end):
    """Where the body of the function at `start..end` opens: its first brace outside of parentheses."""
    depth, at = 0, start
    while at < end:
        quoted = QUOTED.match(text, at)
        if quoted:
            at = quoted.end()
            continue
        if text[at] in "([":
            depth += 1
        elif text[at] in ")]":
            depth -= 1
        elif text[at] == "{" and depth == 0:
            return at
        at += 1
    raise ValueError("a function without a body")


def edited(text, mutant, start, end):
    """The part `start..end` of the text with the mutant's edit in it."""
    first, last = span(text, mutant["span"])
    return text[start:first] + mutant["replacement"] + text[last:end]


def group(listing, names, tree, where):
    known = mutants(listing)
    files = {}
    for number, name in enumerate(names, 1):
        if name:
            mutant = known[name]
            function = json.dumps(mutant["function"]["span"], sort_keys=True)
            files.setdefault(mutant["file"], {}).setdefault(function, []).append((number, mutant))
    lines = []
    for path, functions in files.items():
        with open(f"{tree}/{path}") as file:
            text = file.read()
        out, done = "", 0
        for function in sorted(functions, key=lambda key: span(text, json.loads(key))):
            start, end = span(text, json.loads(function))
            numbers = [number for number, _ in functions[function]]
            if start < done:
                # A function within one that has already been written.
                lines += [f"{path} 0 0 {number}" for number in numbers]
                continue
            body = body_of(text, start, end)
            out += text[done:body] + "{\n"
            first = out.count("\n")
            for number, mutant in functions[function]:
                before = out.count("\n") + 1
                out += f"if crate::mutant({number}) {edited(text, mutant, body, end)} else "
                lines.append(f"{path} {before} {out.count(chr(10)) + 1} {number}")
            out += text[body:end] + "\n}"
            # An error outside each single mutant is blamed on all of them.
            after = out.count("\n") + 1
            lines += [f"{path} {first} {after} {number}" for number in numbers]
            done = end
        with open(f"{tree}/{path}", "w") as file:
            file.write(out + text[done:])
    with open(f"{tree}/core/src/lib.rs", "a") as file:
        file.write(SWITCH)
    with open(where, "w") as file:
        file.writelines(f"{line}\n" for line in lines)


def alone(listing, name, tree):
    mutant = mutants(listing)[name]
    path = f"{tree}/{mutant['file']}"
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(edited(text, mutant, 0, len(text)))


def blame(where, errors):
    """Prints the numbers of the mutants that errors lie in, those of the narrowest range."""
    with open(where) as file:
        places = [line.split() for line in file]
    with open(errors) as file:
        found = re.findall(r"^\s*--> ([^:\n]+):(\d+):\d+", file.read(), re.M)
    # Nested functions are never written, so their mutants are built alone.
    blamed = {number for _, first, _, number in places if first == "0"}
    for path, line in found:
        inside = [
            (int(last) - int(first), number)
            for at, first, last, number in places
            if at == path and int(first) <= int(line) <= int(last)
        ]
        if inside:
            narrowest = min(inside)[0]
            blamed |= {number for width, number in inside if width == narrowest}
    print(" ".join(sorted(blamed, key=int)))


def main():
    match sys.argv[1:]:
        case ["group", listing, names, tree, where]:
            with open(names) as file:
                group(listing, file.read().splitlines(), tree, where)
        case ["alone", listing, name, tree]:
            alone(listing, name, tree)
        case ["blame", where, errors]:
            blame(where, errors)
        case _:
            sys.exit(__doc__)


main()
