"""Everything below deploy/ that is for Kubernetes and for a container, as far as it can be checked without either."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "conformance"))

import image
import manifests
import observed
import pods
from checks import check, end, equal
from rendered import Overlay, name

overlays = {}
for overlay in ("small", "large/migrate", "large"):
    with check(f"{overlay}: the overlay renders"):
        overlays[overlay] = Overlay(overlay)
for overlay in overlays.values():
    manifests.all_of(overlay)
with check("the migration changes nothing that the large overlay has, too"):
    large = {name(object): object for object in overlays["large"].objects}
    both = [object for object in overlays["large/migrate"].objects if name(object) in large]
    assert len(both) > 5, both
    for object in both:
        equal(object, large[name(object)])
if "large" in overlays:
    observed.all_of(overlays["large"])
root = image.all_of()
if len(overlays) == 3:
    pods.all_of(root, overlays["large/migrate"], overlays["large"])
end()
