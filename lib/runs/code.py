"""What made a result: the hash of the code that it depends on."""
import ast
import hashlib
import inspect
import sys
import textwrap
from functools import cache

REGISTERED = "Call(func=Name(id='method'"


@cache
def _syntax(source):
    """The syntax tree of a piece of code, without docstrings, as text, and the names in it."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):  # being registered would make a method depend on all of lib.methods
            node.decorator_list = [d for d in node.decorator_list if not ast.dump(d).startswith(REGISTERED)]
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(getattr(body[0].value, "value", None), str):
                node.body = body[1:]
    return ast.dump(tree), sorted(n.id for n in ast.walk(tree) if isinstance(n, ast.Name))


def code_hash(*objects):
    """Hash of the syntax trees, without docstrings, of modules and of functions with the local helpers they use."""
    seen, texts = set(), []

    def visit(o):
        if o in seen:
            return
        seen.add(o)
        try:
            source = inspect.getsource(o)
        except (OSError, TypeError):
            source = repr(getattr(getattr(o, "__code__", o), "co_code", o))
            texts.append(source)
            return
        text, names = _syntax(source)
        texts.append(text)
        if inspect.isfunction(o):
            for name in names:
                other = o.__globals__.get(name)
                if inspect.isfunction(other) and other.__module__ == o.__module__:
                    visit(other)
                elif inspect.isfunction(other) and other.__module__.startswith("lib."):
                    visit(sys.modules[other.__module__])
    for o in objects:
        visit(o)
    return hashlib.sha256("".join(sorted(texts)).encode()).hexdigest()[:16]
