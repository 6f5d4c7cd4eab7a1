"""Docstrings of all that is public, and type stubs that say what there is."""

import ast
import importlib
import inspect
import os
import pkgutil

import pytest

import kinfolk

FOLDER = os.path.dirname(kinfolk.__file__)


def public_modules():
    for found in pkgutil.walk_packages(kinfolk.__path__, "kinfolk."):
        words = found.name.split(".")
        if not any(word.startswith("_") for word in words) and words[-1] != "popen_spawn_win32":
            yield importlib.import_module(found.name)


def test_docstrings():
    missing = []
    for module in [kinfolk, *public_modules()]:
        if not module.__doc__:
            missing.append(module.__name__)
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if (inspect.isclass(value) or inspect.isfunction(value)) and not inspect.getdoc(value):
                missing.append(f"{module.__name__}.{name}")
            if not inspect.isclass(value):
                continue
            for key, member in vars(value).items():
                function = getattr(member, "__func__", member)
                if not key.startswith("_") and inspect.isfunction(function):
                    if not inspect.getdoc(function):
                        missing.append(f"{module.__name__}.{name}.{key}")
    assert missing == []


STUBS = sorted(name for name in os.listdir(FOLDER) if name.endswith(".pyi"))


def parameters(node):
    """The names of a stub function's parameters, in order, without self and positional marks."""
    every = [*node.args.posonlyargs, *node.args.args]
    names = [arg.arg for arg in every] + [arg.arg for arg in node.args.kwonlyargs]
    return [name for name in names if name not in ("self", "cls")]


def compare(node, value, where):
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return  # C functions that do not tell
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    there = [p.name for p in signature.parameters.values() if p.kind not in kinds]
    there = [name for name in there if name not in ("self", "cls")]
    assert parameters(node) == there, where


@pytest.mark.parametrize("stub", STUBS)
def test_stub(stub):
    name = "kinfolk" if stub == "__init__.pyi" else f"kinfolk.{stub[:-4]}"
    module = importlib.import_module(name)
    with open(os.path.join(FOLDER, stub)) as file:
        tree = ast.parse(file.read())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            compare(node, getattr(module, node.name), f"{name}.{node.name}")
        elif isinstance(node, ast.AnnAssign):
            assert hasattr(module, node.target.id), node.target.id
        elif isinstance(node, ast.ClassDef):
            cls = getattr(module, node.name)
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    where = f"{name}.{node.name}.{member.name}"
                    made = ("acquire", "release")  # in the instance
                    assert hasattr(cls, member.name) or member.name in made, where
                    if inspect.isfunction(getattr(cls, member.name, None)):
                        compare(member, getattr(cls, member.name), where)


def test_all_names_of_the_package_are_in_its_stub():
    with open(os.path.join(FOLDER, "__init__.pyi")) as file:
        tree = ast.parse(file.read())
    told = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            told.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            told.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            told.update(alias.asname for alias in node.names if alias.asname)
    assert set(kinfolk.__all__) <= told
