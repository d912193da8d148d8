"""Contracts that live outside this package: from a file or module to what it defines."""

import ast
import hashlib
import importlib
import importlib.util
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from contracts.model import Contract, WrongContract
from contracts.subjects import CONTRACTS


def load_contracts(reference: str) -> list[Contract]:
    """The contracts of ``licence.py``, ``bureau.licence`` or either with ``:V1`` behind it.

    Without an attribute these are all contracts bound at the top level, in the order they are written
    and each once, but not those the file only imports. An attribute may also be a mapping or a
    sequence of contracts. Files are read anew each time and may import their neighbours; reading one
    runs it, so take only files you would run. Raises WrongContract.
    """
    place, attribute = _parted(reference)
    module = load_module(place)
    if attribute:
        if not hasattr(module, attribute):
            there = ", ".join(name for name, _ in _bound(module)) or "no contract"
            raise WrongContract(f"Expected `{attribute}` in {place}, found {there}")
        found = list(_contracts_in(getattr(module, attribute)))
    else:
        found = [contract for _, contract in _bound(module)]
    if not found:
        what = f"`{attribute}`" if attribute else "its top level"
        raise WrongContract(
            f"Expected a contract, such as `V1 = define(…)`, at {what} of {place}, found none"
        )
    return _distinct(found, place)


def installed_or_loaded(reference: str) -> list[Contract]:
    """The contract that is installed under this name, else those of a file or module.

    Raises WrongContract.
    """
    return [CONTRACTS[reference]] if reference in CONTRACTS else load_contracts(reference)


def load_steps(reference: str) -> dict[tuple[str, str], Callable[[Any], Any]]:
    """The steps between majors of the file or module ``reference``: its ``STEPS``, functions by the
    contracts they lead from and to (``("licence.v2", "licence.v1"): down``).

    Raises WrongContract.
    """
    steps = getattr(load_module(reference), "STEPS", None)
    if not isinstance(steps, dict) or not steps:
        raise WrongContract(
            f'Expected `STEPS = {{("licence.v2", "licence.v1"): down}}` in {reference}, found none'
        )
    for ends, function in steps.items():
        if not (isinstance(ends, tuple) and len(ends) == 2 and callable(function)):
            raise WrongContract(f"Expected two contracts and a function in STEPS, got {ends!r}")
        stepped_class(function)
    return steps


def stepped_class(function: Callable[[Any], Any]) -> type[msgspec.Struct]:
    """The typed class of the records a step takes: its first parameter's. Raises WrongContract."""
    hints = typing.get_type_hints(function)
    hints.pop("return", None)
    first = next(iter(hints.values()), None)
    if not (isinstance(first, type) and issubclass(first, msgspec.Struct)):
        raise WrongContract(
            f"Expected a step whose first parameter is a record's class, such as `def down(new:"
            f" LicenceV2)`, got {getattr(function, '__name__', function)!r}"
        )
    return first


def load_module(place: str) -> ModuleType:
    """The module at a path such as ``licence.py`` or of a name such as ``bureau.licence``.

    Raises WrongContract with the line that failed.
    """
    path = Path(place)
    if path.suffix == ".py":
        if not path.is_file():
            raise WrongContract(f"Expected a file with contracts at {place}, found none")
        return _from_file(path)
    if not all(part.isidentifier() for part in place.split(".")):
        raise WrongContract(
            f"Expected a Python file such as `licence.py` or a module such as `bureau.licence`, got"
            f" `{place}`"
        )
    return _from_name(place)


def _parted(reference: str) -> tuple[str, str]:
    place, colon, attribute = reference.rpartition(":")
    return (place, attribute) if colon and attribute.isidentifier() else (reference, "")


def _from_file(path: Path) -> ModuleType:
    where = path.resolve()
    # msgspec looks annotations up in `sys.modules`, so the module has to stand there, and under a name
    # that hides nobody else's.
    name = f"contract_file_{hashlib.sha256(str(where).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, where)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Not by the loader: its cache goes by seconds, and a file may change twice within one.
    try:
        code = compile(where.read_bytes(), str(where), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise WrongContract(f"{path}{f':{line}' if line else ''}: {error}") from None
    except OSError as error:
        raise WrongContract(f"Expected a file that can be read at {path}: {error}") from None
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        with _Beside(where.parent):
            exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise WrongContract(_said(error, where, path)) from error
    return module


def _from_name(name: str) -> ModuleType:
    try:
        with _Beside(Path.cwd()):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise WrongContract(
                f"Expected a module `{name}`, found none; is it installed, or below {Path.cwd()}?"
            ) from None
        raise WrongContract(f"{name}: {error}") from error
    except (Exception, SystemExit) as error:
        raise WrongContract(f"{name}: {_plainly(error)}") from error


class _Beside:
    """While in it, imports find what lies in ``folder``, after everything installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def __enter__(self) -> None:
        sys.path.append(self._folder)

    def __exit__(self, *_: object) -> None:
        # From the end: what the file itself added stays.
        at = len(sys.path) - 1 - sys.path[::-1].index(self._folder)
        del sys.path[at]


def _said(error: BaseException, where: Path, path: Path) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(where)
    ]
    return f"{path}{f':{lines[-1]}' if lines else ''}: {_plainly(error)}"


def _plainly(error: BaseException) -> str:
    return str(error) if isinstance(error, WrongContract) else f"{type(error).__name__}: {error}"


def _bound(module: ModuleType) -> Iterator[tuple[str, Contract]]:
    """The contracts bound at the top level but by an import, by name."""
    imported = _imported(module)
    for name, value in vars(module).items():
        if isinstance(value, Contract) and name not in imported:
            yield name, value


def _imported(module: ModuleType) -> set[str]:
    try:
        tree = ast.parse(Path(module.__file__ or "").read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    return {
        alias.asname or alias.name
        for statement in tree.body
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for alias in statement.names
    }


def _contracts_in(value: Any) -> Iterable[Contract]:
    if isinstance(value, Contract):
        return [value]
    inside = value.values() if isinstance(value, Mapping) else value
    if isinstance(inside, Iterable) and not isinstance(inside, str | bytes):
        return [each for each in inside if isinstance(each, Contract)]
    return []


def _distinct(found: list[Contract], place: str) -> list[Contract]:
    by_revision: dict[str, Contract] = {}
    for contract in found:
        other = by_revision.setdefault(contract.dataschema, contract)
        if other != contract:
            raise WrongContract(
                f"Expected one contract for {contract.name} revision {contract.revision} in {place},"
                " found two that differ; give the newer one a higher `minor`"
            )
    return list(by_revision.values())
