"""Just enough of C++'s lexical rules to count the lines of functions."""
import re

_TOKEN = re.compile(
    r'R"(?P<delim>[^()\\\s]{0,16})\((?P<raw>.*?)\)(?P=delim)"'
    r'|(?P<comment>//(?:[^\n\\]|\\.|\\\n)*|/\*.*?\*/)'
    r'|"(?:[^"\\\n]|\\.|\\\n)*"'
    r"|(?<![0-9A-Fa-f_])'(?:[^'\\\n]|\\.)*'"
    r"|(?P<directive>^[ \t]*\#(?:[^\n\\]|\\.|\\\n)*)",
    re.S | re.M)

# What may stand before the `{` of something that is not a function.
_NOT_FUNCTION = re.compile(
    r"^\s*(?:inline\s+)?(?:if|for|while|switch|do|else|try|catch|namespace|class|struct|union|enum|"
    r"extern|return|template\s*<[^{]*>\s*(?:class|struct|union)|typedef|requires)\b")


def blank(text):
    """`text` with comments, literals and preprocessor lines turned to spaces, lines kept."""
    return _TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def _opens_function(head):
    """Whether `head`, the text between the last statement and a `{`, declares a function."""
    head = head.strip()
    head = re.sub(r"^(?:public|private|protected)\s*:\s*", "", head)
    if not head or "(" not in head or _NOT_FUNCTION.match(head):
        return False
    before_parenthesis = head.split("(", 1)[0]
    return "operator" in before_parenthesis or "=" not in before_parenthesis


def functions(blanked):
    """(first line, last line) of every function body that is not inside another function."""
    stack, found, head_start, line = [], [], 0, 1
    for i, char in enumerate(blanked):
        if char == "\n":
            line += 1
        elif char == "{":
            inside = any(kind for kind, _ in stack)
            stack.append((not inside and _opens_function(blanked[head_start:i]), line))
            head_start = i + 1
        elif char == "}":
            if stack:
                is_function, first = stack.pop()
                if is_function:
                    found.append((first, line))
            head_start = i + 1
        elif char == ";":
            head_start = i + 1
    return found
