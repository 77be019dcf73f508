"""`make sbom`: the bill of materials of the service as CycloneDX JSON, on standard output.

It lists what requirements.txt installs on this Python and platform: versions, hashes of the published files, licences
and who needs whom. The same lock and Python give the same bytes: there is no time in it, and the serial number is
derived from the content. Run it with the Python of the environment that it describes.
"""

import uuid
from importlib import metadata

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

from deploy.locks import Locked, normalized, read_lock
from models.version import VERSION

NAME = "energy-ingestion-engine"


def bill() -> Bom:
    locked = {name: each for name, each in read_lock("requirements.txt").items() if each.is_for_this_machine}
    components = {name: _component(name, each) for name, each in locked.items()}
    service = Component(
        name=NAME,
        version=VERSION,
        type=ComponentType.APPLICATION,
        bom_ref=NAME,
        licenses=[LicenseExpression("Apache-2.0")],
    )
    bom = Bom(components=components.values())
    bom.metadata.component = service
    bom.register_dependency(service, components.values())
    for name, component in components.items():
        bom.register_dependency(component, [components[needed] for needed in _needed(name) if needed in components])
    bom.metadata.timestamp = None
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, "".join(sorted(str(c.purl) for c in components.values())))
    return bom


def _component(name: str, locked: Locked) -> Component:
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"https://pypi.org/project/{name}/{locked.version}/#files"),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in locked.hashes],
    )
    purl = PackageURL("pypi", name=name, version=locked.version)
    return Component(
        name=name,
        version=locked.version,
        purl=purl,
        bom_ref=str(purl),
        licenses=_licences(name),
        external_references=[files],
    )


def _licences(name: str) -> list:
    """As the package declares it: an SPDX expression, else trove classifiers, else a short text."""
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return [LicenseExpression(expression)]
    classifiers = [text.split(" :: ")[-1] for text in about.get_all("Classifier", []) if text.startswith("License ::")]
    text = (about.get("License") or "").strip()
    return [DisjunctiveLicense(name=each) for each in classifiers or ([text] if text and "\n" not in text else [])]


def _needed(name: str) -> set[str]:
    """The packages that a package requires here, without its extras."""
    wanted = set()
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            wanted.add(normalized(requirement.name))
    return wanted


if __name__ == "__main__":
    print(JsonV1Dot6(bill()).output_as_string(indent=2))
