"""Maps the top-level rooms to the import name ``fedward``; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

ROOMS = ("audits", "certs", "client", "common", "server", "simulations", "studies")

setup(
    package_dir={f"fedward.{room}": room for room in ROOMS},
    packages=[
        name
        for room in ROOMS
        for name in (f"fedward.{room}", *(f"fedward.{room}.{sub}" for sub in find_packages(room)))
    ],
)
