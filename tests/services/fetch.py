"""Fetches the real servers: Conductor with Maven, VictoriaMetrics with apt, from the machine's mirrors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CONDUCTOR_VERSION = "3.32.3"
CONDUCTOR_ARTIFACT = f"org.conductoross:conductor-server:{CONDUCTOR_VERSION}:jar:boot"
MINIMUM_JAVA = 21
VICTORIA_METRICS_SUITE = "trixie"
CHECKOUT = Path(__file__).resolve().parents[2]
SERVICES_FOLDER = CHECKOUT / ".services"


class ServiceUnavailable(Exception):
    """A real server cannot be fetched or started here; the text says why and what would help."""


def conductor_jar() -> Path:
    """Return the boot jar of the real Conductor, downloading it into the local Maven repository once."""
    jar = _maven_repository() / (
        f"org/conductoross/conductor-server/{CONDUCTOR_VERSION}/conductor-server-{CONDUCTOR_VERSION}-boot.jar"
    )
    if jar.exists():
        return jar
    if shutil.which("mvn") is None:
        raise ServiceUnavailable("Conductor is fetched with Maven, and `mvn` is not installed")
    _run(["mvn", "-q", "-B", "dependency:get", f"-Dartifact={CONDUCTOR_ARTIFACT}", "-Dtransitive=false"])
    if not jar.exists():
        raise ServiceUnavailable(f"Maven reported success, but {jar} does not exist")
    return jar


def find_java() -> Path:
    """Return a `java` of version 21 or newer: `JAVA_HOME`, the one on `PATH`, then every folder of JVMs."""
    seen: list[str] = []
    for candidate in _java_candidates():
        version = _java_version(candidate)
        if version >= MINIMUM_JAVA:
            return candidate
        seen.append(f"{candidate} (version {version or 'unknown'})")
    found = ", ".join(seen) or "none"
    raise ServiceUnavailable(
        f"Conductor needs Java {MINIMUM_JAVA} or newer; found: {found}. "
        "Install a newer JDK package or point JAVA_HOME at one."
    )


def fetched_victoria_metrics() -> Path | None:
    """Return the VictoriaMetrics binary if it has been fetched; `vmalert-tool` is beside it."""
    binary = SERVICES_FOLDER / "victoria-metrics/usr/bin/victoria-metrics"
    return binary if binary.exists() else None


def victoria_metrics_binary() -> Path:
    """Return the real VictoriaMetrics binary, unpacking Debian's package under `.services/` once."""
    if found := fetched_victoria_metrics():
        return found
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise ServiceUnavailable(
                f"VictoriaMetrics comes as a Debian package, and `{tool}` is not installed"
            )
    SERVICES_FOLDER.mkdir(exist_ok=True)
    package = _download_debian_package(SERVICES_FOLDER / "apt")
    unpacked = SERVICES_FOLDER / f"victoria-metrics.{os.getpid()}"
    _run(["dpkg", "-x", str(package), str(unpacked)])
    if not (unpacked / "usr/bin/victoria-metrics").exists():
        raise ServiceUnavailable(f"{package.name} holds no usr/bin/victoria-metrics")
    folder = SERVICES_FOLDER / "victoria-metrics"
    if not folder.exists():
        unpacked.rename(folder)
    return folder / "usr/bin/victoria-metrics"


def _maven_repository() -> Path:
    settings = Path.home() / ".m2/settings.xml"
    if settings.exists():
        named = re.search(r"<localRepository>\s*([^<]+?)\s*</localRepository>", settings.read_text())
        if named:
            return Path(named.group(1)).expanduser()
    return Path.home() / ".m2/repository"


def _java_candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin/java"
    if found := shutil.which("java"):
        yield Path(found)
    for folder in (Path("/usr/lib/jvm"), Path("/opt/java"), Path.home() / ".sdkman/candidates/java"):
        if folder.is_dir():
            yield from sorted(folder.glob("*/bin/java"))


def _java_version(java: Path) -> int:
    try:
        shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return 0
    number = re.search(r'version "(\d+)', shown.stderr + shown.stdout)
    return int(number.group(1)) if number else 0


def _download_debian_package(state: Path) -> Path:
    """Download the package with package lists of our own, so that the machine's apt is left as it is."""
    lists, archives = state / "lists", state / "archives"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    source = state / "trixie.sources"
    source.write_text(_debian_source(VICTORIA_METRICS_SUITE))
    options = [
        f"-oDir::Etc::sourcelist={source}",
        "-oDir::Etc::sourceparts=-",
        f"-oDir::State::lists={lists}",
        f"-oDir::Cache={state}",
        f"-oDir::Cache::archives={archives}",
        "-oAPT::Sandbox::User=",
        "-oAPT::Get::List-Cleanup=false",
    ]
    _run(["apt-get", *options, "-q", "update"])
    _run(["apt-get", *options, "-q", "download", "victoria-metrics"], folder=archives)
    packages = sorted(archives.glob("victoria-metrics_*.deb"))
    if not packages:
        raise ServiceUnavailable("apt-get downloaded no victoria-metrics package")
    shutil.rmtree(lists)
    return packages[-1]


def _debian_source(suite: str) -> str:
    """Return a deb822 source like the machine's own entry for its Debian release, for another suite."""
    release = _os_release()
    codename = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian" or not codename:
        raise ServiceUnavailable(
            "VictoriaMetrics is taken from Debian's archive, and this machine is not Debian"
        )
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.+)$", stanza, flags=re.MULTILINE))
            if (
                codename in fields.get("Suites", "").split()
                and "main" in fields.get("Components", "").split()
            ):
                signed = f"Signed-By: {fields['Signed-By']}\n" if "Signed-By" in fields else ""
                return f"Types: deb\nURIs: {fields['URIs']}\nSuites: {suite}\nComponents: main\n{signed}"
    entry = re.compile(rf"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+{codename}\s+.*\bmain\b", flags=re.MULTILINE)
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))]:
        found = entry.search(path.read_text()) if path.exists() else None
        if found:
            return f"Types: deb\nURIs: {found.group(1)}\nSuites: {suite}\nComponents: main\n"
    raise ServiceUnavailable(f"no apt source for Debian {codename} was found, so there is no mirror to ask")


def _os_release() -> dict[str, str]:
    path = Path("/etc/os-release")
    text = path.read_text() if path.exists() else ""
    return {key: value.strip('"') for key, value in re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE)}


def _run(command: list[str], folder: Path | None = None) -> None:
    print(f"$ {' '.join(command[:2])} …", file=sys.stderr)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise ServiceUnavailable(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n{tail}")
