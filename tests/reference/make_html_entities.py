"""Writes data/text/html_entities.inc: the character references of HTML as Python's html.unescape() knows them.

Usage: make_html_entities.py > data/text/html_entities.inc
"""
import html
import html.entities

WIDTH = 126


def literal(words):
    """A C string literal of the words, one space between two, over several lines."""
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) + 1 > WIDTH - 4:
            lines.append(line)
            line = ""
        line += word + " "
    return "\n".join(f'    "{line}"' for line in lines + [line])


def named():
    """name=HEX[,HEX], with * before those that are also known without a semicolon."""
    known = html.entities.html5
    for name in sorted(known):
        if not name.endswith(";"):
            assert known[name + ";"] == known[name]
            continue
        code = ",".join(f"{ord(c):X}" for c in known[name])
        yield f"{'*' if name[:-1] in known else ''}{name[:-1]}={code}"


print("""// Made by tests/reference/make_html_entities.py; do not edit.
//
// The 2,125 named character references of HTML, NAME=CODE[,CODE] in hexadecimal; * before those that are also
// known without a semicolon (WHATWG HTML, "Named character references").
constexpr std::string_view named_references =""")
print(literal(named()) + ";\n")
print("""// Numbers that stand for another character: NUMBER=CODE.
constexpr std::string_view replaced_numbers =""")
print(literal(f"{n:X}={ord(c):X}" for n, c in sorted(html._invalid_charrefs.items()) if ord(c) != n) + ";\n")
print("""// Numbers that stand for nothing.
constexpr std::string_view dropped_numbers =""")
print(literal(f"{n:X}" for n in sorted(html._invalid_codepoints) if n not in html._invalid_charrefs) + ";")
