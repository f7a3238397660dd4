"""A build backend (PEP 517) for a source of one module."""

import email
import pathlib
import zipfile


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    text = pathlib.Path("PKG-INFO").read_text()
    about = email.message_from_string(text)
    name, version = about["Name"], about["Version"]
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": pathlib.Path(f"{name}.py").read_text(),
        f"{info}/METADATA": text,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tinybuild\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / wheel, "w") as z:
        for file, body in files.items():
            z.writestr(file, body)
    return wheel
