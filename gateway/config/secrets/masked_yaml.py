"""The text of gateway.yaml with every secret masked, for people to read: comments and layout stay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr

from gateway.config.load import Config
from gateway.config.secrets.masking import is_file_url
from gateway.config.secrets.names import is_secret_key
from gateway.config.yaml.writing import as_yaml
from gateway.core.masking import MASK

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_USERINFO = re.compile(r"(?<=://)[^/@\s\"']+@")
_QUERY = re.compile(r"(://[^\s\"'?]+\?)[^\s\"'#]+")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def masked_files(config: Config) -> list[tuple[str, str]]:
    """Each YAML file of a configuration as (path below its folder, masked text); the main one first."""
    files = []
    for path in sorted(config.files, key=lambda path: (path != config.path.resolve(), str(path))):
        if path.suffix not in (".yaml", ".yml") and path != config.path.resolve():
            continue
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            continue
        shown = str(path.relative_to(config.folder)) if path.is_relative_to(config.folder) else path.name
        files.append((shown, masked_text(text, config.hidden)))
    return files


def masked_text(text: str, secrets: Iterable[str] = ()) -> str:
    """One file's text. What stands where secrets stand is masked unless it only names a variable or a file; so is any
    of `secrets`, wherever it stands. A text that is not YAML is masked line by line.
    """
    known = list(secrets)
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError):
        return re.sub(r"(?m)([:\-]\s+)\S.*$", rf"\1{MASK}", text)
    spans = sorted(set(_spans(node, False, known)), reverse=True) if node is not None else []
    for start, end, replacement in spans:
        whole = text[start:end]
        text = text[:start] + replacement + whole[len(whole.rstrip()) :] + text[end:]  # a block ends past its line
    for secret in known:  # in comments
        text = text.replace(secret, MASK)
    return masked_urls(text)


def masked_urls(text: str) -> str:
    """The text without what URLs in it may hold of secrets: who signs in there, and what is asked."""
    return _QUERY.sub(rf"\1{MASK}", _USERINFO.sub(f"{MASK}@", text))


def _spans(node: yaml.Node, secret: bool, known: list[str], depth: int = 0) -> Iterator[tuple[int, int, str]]:
    """The scalars to replace: where each begins and ends in the text, and by what."""
    if depth > 60:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            yield from _spans(value, secret or is_secret_key(name), known, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _spans(item, secret, known, depth + 1)
    elif isinstance(node, yaml.ScalarNode) and node.value:
        shown = MASK if any(secret_text in node.value for secret_text in known) else node.value
        if secret:
            shown = _variables_only(node.value)
        if shown != node.value:
            yield node.start_mark.index, node.end_mark.index, f'"{shown}"'


def _variables_only(text: str) -> str:
    """`${NAME}` and `${file:path}` stay, defaults and everything else do not."""
    if not _VARIABLE.sub("", text):
        return _VARIABLE.sub(lambda match: "${" + _without_default(match[1]) + "}", text)
    return MASK


def _without_default(inner: str) -> str:
    name, dash, default = inner.partition(":-")
    return f"{name}:-{MASK}" if dash and default else inner


def masked_settings(config: Config) -> dict[str, Any]:
    """The configuration in force as JSON values, every secret masked."""
    whole: dict[str, Any] = _masked(config.settings)
    whole["connections"] = {name: _masked(connection) for name, connection in config.connections.items()}
    masked: dict[str, Any] = config.references.mask(whole)
    return masked


def _masked(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value() if is_file_url(value) or not value.get_secret_value() else MASK
    if isinstance(value, BaseModel):
        return {
            info.alias or name: _masked(getattr(value, name))
            for name, info in type(value).model_fields.items()
            if getattr(value, name) is not None
        }
    if isinstance(value, dict):
        return {str(key): _masked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(item) for item in value]
    if isinstance(value, str):
        return masked_urls(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def routes_text(config: Config) -> str:
    """The `vars:` and `routes:` of all files, masked: what a draft begins with."""
    parts: dict[str, list[str]] = {"vars": [], "routes": []}
    for _, text in masked_files(config):
        try:
            node = yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError:  # half written just now
            continue
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.value in parts and isinstance(value, yaml.MappingNode) and value.value:
                first = value.value[0][0].start_mark
                inner = text[first.index : value.end_mark.index].rstrip()
                if value.flow_style:
                    inner = as_yaml(yaml.safe_load("{" + inner)).rstrip()
                    first_column = 0
                else:
                    first_column = first.column
                lines = (" " * first_column + inner).splitlines()
                parts[key.value] += [f"  {line[min(first_column, len(line) - len(line.lstrip())) :]}" for line in lines]
    return "\n".join(f"{name}:\n" + "\n".join(lines) for name, lines in parts.items() if lines) + "\n"
