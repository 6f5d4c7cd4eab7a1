#!/usr/bin/python3
"""Checks that the man pages, the README and the guide are true of the tree.

- Every public function is in the NAME line of one man page; its prototype in the SYNOPSIS is the
  header's (the compiler sees both).
- A page names every error that its headers name, and every member of their option structs;
  kinfolk(7) names every error of base.h.
- Every page has its sections, and every page of section 3 a complete example.
- Every C block compiles with -std=c11 -Wall -Wextra -pedantic -Werror: a block with a main links,
  any other is taken as a part of a file, after the standard includes. Every Python block compiles.
- A block behind the mark "run", or "run: OUTPUT" (with \\n for line ends), is run and must end with
  0, and print that. The mark is a comment of its own line: "; run" in man pages, "<!-- run -->" in
  Markdown.
- Links of Markdown pages, and what SEE ALSO names, exist; docs/design/README.md links every page.

Usage: check_docs.py TOP BUILD LIBRARY. Prints TAP; exit status 1 if something is wrong.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TOP, BUILD, LIBRARY = (Path(arg) for arg in sys.argv[1:4])
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{TOP}/include"]
PRELUDE = "".join(f"#include <{name}>\n" for name in (
    "kinfolk.h", "errno.h", "signal.h", "stdio.h", "stdlib.h", "string.h"))
RUN_SECONDS = 60
SECTIONS = {
    "1": ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO"],
    "3": ["NAME", "SYNOPSIS", "DESCRIPTION", "RETURN VALUE", "ERRORS", "EXAMPLE", "SEE ALSO"],
    "7": ["NAME", "DESCRIPTION", "ERRORS", "SEE ALSO"],
}
# Which page tells of which header; a header that is not listed has a page of its own name.
HEADER_PAGES = {"base": ["kinfolk.7", "kin_error.3"], "future": ["kin_future.3"],
                "pool": ["kin_pool.3", "kin_imap.3"]}

results = []


def report(what, problems):
    results.append((what, list(problems)))


def without_comments(text):
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def public_functions(text):
    code = without_comments(text)
    return set(re.findall(r"\b(kin_[a-z_0-9]+)\s*\([^;{]*\)\s*;", "\n".join(
        re.findall(r"KIN_API[^;]*;", code)))) | set(re.findall(
            r"^static inline [\w\s\*]*?\b(kin_\w+)\(", code, flags=re.MULTILINE))


def errors_named(text):
    return set(re.findall(r"\bKIN_E[A-Z]+\b|(?<![\w])-E[A-Z0-9]+\b", text)) - {"KIN_ERRORS"}


def option_members(text):
    """Members of the structs whose name ends in _options, by struct."""
    found = {}
    for name, body in re.findall(r"struct (kin_\w+_options) \{(.*?)\n\};", without_comments(text),
                                 flags=re.DOTALL):
        found[name] = {re.search(r"(\w+)\s*$", part).group(1)
                       for part in body.split(";") if part.strip()} - {"size"}
    return found


class Page:
    """A man page's source: its name, sections and blocks of code."""

    def __init__(self, path):
        self.path = path
        self.name = path.name.removesuffix(".scd")
        self.text = path.read_text()
        parts = re.split(r"^# (.+)$", self.text, flags=re.MULTILINE)
        self.sections = dict(zip(parts[1::2], parts[2::2]))

    @property
    def names(self):
        return self.text.split("\n")[4].split(" - ")[0].split(", ")

    def blocks(self, section):
        """(line number, mark, code) of the section's literal blocks."""
        pattern = r"(?:^; (run[^\n]*)\n)?^```\n(.*?)^```$"
        for match in re.finditer(pattern, self.sections.get(section, ""),
                                 flags=re.DOTALL | re.MULTILINE):
            line = self.text.count("\n", 0, self.text.index(match.group(0))) + 1
            yield line, match.group(1), match.group(2)


def check_names(pages, headers):
    named = {}
    for page in pages:
        for name in page.names:
            named.setdefault(name, []).append(page.name)
    problems = []
    for header, text in headers.items():
        for function in sorted(public_functions(text)):
            if function not in named:
                problems.append(f"{function} of {header}.h is in no page's NAME line")
    problems += [f"{name} is in the NAME lines of {where}"
                 for name, where in named.items() if len(where) > 1 and name != "kinfolk"]
    public = set().union(*(public_functions(text) for text in headers.values()))
    problems += [f"{where[0]} names {name}, which is no public function"
                 for name, where in named.items()
                 if name not in public and name not in [page.name.split(".")[0] for page in pages]]
    report(f"all {len(public)} public functions have a page", problems)


def check_built_list(pages):
    listed = set(re.findall(r"'(\w+\.\d)'", (TOP / "man/meson.build").read_text()))
    report("man/meson.build lists the pages",
           [f"differs: {name}" for name in listed ^ {page.name for page in pages}])


def check_page(page, headers, pages):
    problems = []
    section = page.name[-1]
    for wanted in SECTIONS[section]:
        if wanted not in page.sections:
            problems.append(f"has no section {wanted}")
    for name, number in re.findall(r"\*(k\w+)\*\((\d)\)", page.text):
        if f"{name}.{number}" not in [other.name for other in pages]:
            problems.append(f"refers to {name}({number}), which does not exist")
    if section == "3" and not any("int main(" in code for _, _, code in page.blocks("EXAMPLE")):
        problems.append("has no complete example")
    for name in page.names:
        if name != page.name.split(".")[0] and not re.search(
                rf"\b{name}\b", page.sections.get("DESCRIPTION", "")):
            problems.append(f"does not describe {name}")
    report(f"{page.name}: sections and references", problems)


def check_header(header, text, pages):
    wanted = HEADER_PAGES.get(header, [f"kin_{header}.3"])
    there = [page for page in pages if page.name in wanted]
    problems = [f"there is no page {name}" for name in wanted
                if name not in [page.name for page in there]]
    told = "\n".join(page.text for page in there)
    problems += [f"{code} is not in {' or '.join(wanted)}"
                 for code in sorted(errors_named(text) - errors_named(told))]
    for struct, members in option_members(text).items():
        problems += [f"struct {struct}'s {member} is not in {' or '.join(wanted)}"
                     for member in sorted(members) if not re.search(rf"_{member}_(?!\w)", told)]
    if header == "base":
        page = next(page for page in pages if page.name == "kinfolk.7")
        codes = re.findall(r"X\((KIN_E\w+),", text)
        problems += [f"{code} is not described in kinfolk(7)" for code in codes
                     if not re.search(rf"^\*{code}\*", page.text, flags=re.MULTILINE)]
    report(f"{header}.h: errors and options", problems)


def compile_c(code, work, name, program):
    source = work / f"{name}.c"
    output = work / name
    source.write_text(code)
    command = ["cc", *FLAGS]
    if program:
        command += [source, "-o", output, f"-L{LIBRARY.parent}", "-lkinfolk", "-lm", "-pthread",
                    f"-Wl,-rpath,{LIBRARY.parent}"]
    else:
        command += ["-Wno-unused-function", "-c", source, "-o", output]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr.splitlines()


def run(command, mark, environment=None):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS,
                              env={**os.environ, **(environment or {})})
    except subprocess.TimeoutExpired:
        return ["runs too long"]
    problems = []
    if done.returncode != 0:
        problems.append(f"ends with {done.returncode}: {done.stderr.strip()}")
    expected = mark.partition(":")[2].strip().replace("\\n", "\n")
    if expected and done.stdout.strip() != expected:
        problems.append(f"prints {done.stdout.strip()!r}, not {expected!r}")
    return problems


def check_c(where, code, mark, work, name):
    program = re.search(r"^int main\(", code, flags=re.MULTILINE) is not None
    problems = compile_c(code if program else PRELUDE + code, work, name, program)
    if mark and not program:
        problems.append("is marked to be run and has no main")
    if mark and not problems:
        problems = run([work / name], mark)
    report(f"{where}: C {'program' + (', run' if mark else '') if program else 'part'}", problems)


def check_python(where, code, mark, work, name):
    problems = []
    try:
        compile(code, where, "exec")
    except SyntaxError as error:
        problems.append(str(error))
    package = BUILD / "python"
    if mark and not problems and package.is_dir():
        script = work / f"{name}.py"
        script.write_text(code)
        problems = run(["/usr/bin/python3", "-m", "kinfolk", script], mark,
                       {"PYTHONPATH": str(package)})
    report(f"{where}: Python {'script, run' if mark else 'part'}", problems)


def check_design_index():
    folder = TOP / "docs/design"
    linked = set(re.findall(r"\]\((\w+\.md)\)", (folder / "README.md").read_text()))
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}
    report("docs/design/README.md links every page",
           [f"no link to {name}" for name in sorted(pages - linked)])


def check_markdown(path, work):
    text = path.read_text()
    name = str(path.relative_to(TOP))
    problems = []
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http") and not (path.parent / target).exists():
            problems.append(f"links to {target}, which does not exist")
    report(f"{name}: links", problems)
    pattern = r"(?:^<!-- (run.*?) -->\n)?^```(\w+)\n(.*?)^```$"
    for match in re.finditer(pattern, text, flags=re.DOTALL | re.MULTILINE):
        mark, language, code = match.groups()
        where = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        check = {"c": check_c, "python": check_python}.get(language)
        if check is not None:
            check(where, code, mark, work, re.sub(r"\W", "_", where))


def main():
    headers = {path.stem: path.read_text()
               for path in sorted((TOP / "include/kinfolk").glob("*.h"))}
    pages = [Page(path) for path in sorted((TOP / "man").glob("*.scd"))]
    check_names(pages, headers)
    check_built_list(pages)
    for header, text in headers.items():
        check_header(header, text, pages)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for page in pages:
            check_page(page, headers, pages)
            base = page.name.replace(".", "_")
            for line, _, code in page.blocks("SYNOPSIS"):
                if page.name[-1] == "3":
                    report(f"{page.name}:{line}: SYNOPSIS is the header's",
                           compile_c(code, work, f"{base}_synopsis", False))
            for line, mark, code in page.blocks("EXAMPLE"):
                check_c(f"{page.name}:{line}", code, mark, work, f"{base}_{line}")
        check_design_index()
        for path in [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]:
            check_markdown(path, work)
    for number, (what, problems) in enumerate(results, 1):
        print(f"{'not ok' if problems else 'ok'} {number} - {what}")
        for problem in problems:
            print(f"# {problem}")
    print(f"1..{len(results)}")
    return any(problems for _, problems in results)


if __name__ == "__main__":
    sys.exit(main())
