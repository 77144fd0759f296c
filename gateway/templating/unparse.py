"""A Jinja expression's syntax tree, written out again."""

from __future__ import annotations

from jinja2 import nodes

_COMPARISONS = {
    "eq": "==",
    "ne": "!=",
    "gt": ">",
    "gteq": ">=",
    "lt": "<",
    "lteq": "<=",
    "in": "in",
    "notin": "not in",
}
_WORDS = {True: "true", False: "false", None: "none"}
# How tightly each holds together, loosest first; anything else is an atom.
_LEVELS: tuple[tuple[type[nodes.Node], ...], ...] = (
    (nodes.CondExpr,),
    (nodes.Or,),
    (nodes.And,),
    (nodes.Not,),
    (nodes.Compare,),
    (nodes.Add, nodes.Sub),
    (nodes.Concat,),
    (nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
    (nodes.Neg, nodes.Pos),
    (nodes.Pow,),
)
_ATOM = len(_LEVELS)


def _level(node: nodes.Node) -> int:
    return next((i for i, kinds in enumerate(_LEVELS) if isinstance(node, kinds)), _ATOM)


def unparse(node: nodes.Node) -> str:
    """Source text that parses to the same tree. Raises ValueError for what is no expression."""
    if isinstance(node, nodes.Name):
        return str(node.name)
    if isinstance(node, nodes.Const):
        return literal(node.value)
    if isinstance(node, nodes.TemplateData):
        return literal(node.data)
    if isinstance(node, nodes.Getattr):
        return f"{_inside(node.node, _ATOM)}.{node.attr}"
    if isinstance(node, nodes.Getitem):
        return f"{_inside(node.node, _ATOM)}[{unparse(node.arg)}]"
    if isinstance(node, nodes.Slice):
        step = "" if node.step is None else f":{unparse(node.step)}"
        return f"{_optional(node.start)}:{_optional(node.stop)}{step}"
    if isinstance(node, nodes.Call):
        return f"{_inside(node.node, _ATOM)}({_arguments(node)})"
    if isinstance(node, nodes.Filter):
        inner = node.node and (unparse(node.node) if isinstance(node.node, nodes.Filter) else _inside(node.node, _ATOM))
        return f"{inner} | {node.name}" + (f"({_arguments(node)})" if _arguments(node) else "")
    if isinstance(node, nodes.Test):
        return f"{_inside(node.node, _ATOM)} is {node.name}" + (f"({_arguments(node)})" if _arguments(node) else "")
    if isinstance(node, nodes.List):
        return f"[{', '.join(map(unparse, node.items))}]"
    if isinstance(node, nodes.Tuple):
        return f"({', '.join(map(unparse, node.items))}{',' if len(node.items) == 1 else ''})"
    if isinstance(node, nodes.Dict):
        return "{" + ", ".join(f"{unparse(pair.key)}: {unparse(pair.value)}" for pair in node.items) + "}"
    return _operator(node)


def literal(value: object) -> str:
    """A constant as Jinja writes it."""
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    return repr(value)


def _operator(node: nodes.Node) -> str:
    level = _level(node)
    if isinstance(node, nodes.CondExpr):
        other = "" if node.expr2 is None else f" else {_inside(node.expr2, level)}"
        return f"{_inside(node.expr1, level + 1)} if {_inside(node.test, level + 1)}{other}"
    if isinstance(node, nodes.Not):
        return f"not {_inside(node.node, level)}"
    if isinstance(node, nodes.Compare):
        rest = "".join(f" {_COMPARISONS[operand.op]} {_inside(operand.expr, level + 1)}" for operand in node.ops)
        return _inside(node.expr, level + 1) + rest
    if isinstance(node, nodes.Concat):
        return " ~ ".join(_inside(part, level + 1) for part in node.nodes)
    if isinstance(node, (nodes.Neg, nodes.Pos)):
        return f"{node.operator}{_inside(node.node, _ATOM)}"
    if isinstance(node, nodes.Pow):
        return f"{_inside(node.left, _ATOM)} ** {_inside(node.right, _ATOM)}"
    if isinstance(node, nodes.BinExpr):
        return f"{_inside(node.left, level)} {node.operator} {_inside(node.right, level + 1)}"
    raise ValueError(f"a {type(node).__name__} is no expression")


def _inside(node: nodes.Node, level: int) -> str:
    """In brackets where it would fall apart otherwise."""
    text = unparse(node)
    falls_apart = _level(node) < level or (level == _ATOM and isinstance(node, (nodes.Filter, nodes.Test)))
    return f"({text})" if falls_apart else text


def _optional(node: nodes.Node | None) -> str:
    return "" if node is None else unparse(node)


def _arguments(node: nodes.Call | nodes.Filter | nodes.Test) -> str:
    parts = [unparse(argument) for argument in node.args]
    parts += [f"{keyword.key}={unparse(keyword.value)}" for keyword in node.kwargs]
    if node.dyn_args is not None:
        parts.append(f"*{unparse(node.dyn_args)}")
    if node.dyn_kwargs is not None:
        parts.append(f"**{unparse(node.dyn_kwargs)}")
    return ", ".join(parts)
