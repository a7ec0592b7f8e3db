"""What pydantic finds wrong with options, in the user's words."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from genbench.errors import did_you_mean
from genbench.escaping import LONGEST_LABEL, one_line

_SHOWN_FINDINGS = 10
COMMAND_LINE = "options"  #: the origin of a suite whose entries were typed: messages name its flags
_MIX_ENTRY = re.compile(r"^mixes\.\d+\.")


def explain(problem: ValidationError, origin: str, schema: type[BaseModel]) -> str:
    """Turn pydantic's findings into lines that name the option, the value found and what is allowed."""
    lines, head = [], "" if origin == COMMAND_LINE else f"{origin}: "
    findings = problem.errors(include_url=False, include_context=False)
    wrong = {finding["loc"][0] for finding in findings if len(finding["loc"]) > 1}
    findings = [one for one in findings if one["type"] != "too_short" or one["loc"][0] not in wrong]
    for finding in findings[:_SHOWN_FINDINGS]:
        path = ".".join(str(part) for part in finding["loc"])
        if finding["type"] == "extra_forbidden":
            known = _fields_at(schema, finding["loc"][:-1])
            lines.append(f"{head}unknown option {path!r}. {did_you_mean(str(finding['loc'][-1]), known)}")
        elif finding["type"] == "missing":
            lines.append(f"{head}option {path!r} is missing")
        else:
            lines.append(f"{head}{_in_words(path, finding, origin)}")
    if len(findings) > _SHOWN_FINDINGS:
        lines.append(f"{head}and {len(findings) - _SHOWN_FINDINGS} more")
    return "\n".join(lines)


def _in_words(path: str, finding: Mapping[str, Any], origin: str) -> str:
    """Say what is wrong with the value of an option, or how several of them do not go together."""
    message = finding["msg"].removeprefix("Value error, ")
    flag = _MIX_ENTRY.sub("", path).replace("_", "-")
    name = f"--{flag}" if origin == COMMAND_LINE and path else f"option {path!r}"
    if isinstance(finding["input"], Mapping) and finding["type"] == "value_error":
        return message if origin == COMMAND_LINE or not path else f"{name}: {message}"
    return f"{name} is {one_line(repr(finding['input']), LONGEST_LABEL)}: {message}"


def _fields_at(schema: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the option names of the model that `path` leads to."""
    for part in path:
        entry = schema.model_fields.get(str(part))
        inner = entry.annotation if entry else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            schema = inner
    return list(schema.model_fields)
