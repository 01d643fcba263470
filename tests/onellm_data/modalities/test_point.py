"""Point clouds: every file format gives the same cloud; sampling; degenerate and hostile files."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onellm_data.errors import SignalError
from onellm_data.modalities import clouds, meshes, point
from onellm_data.modalities import pcd as pcd_format

ORDERS = ["ascii", "binary_little_endian", "binary_big_endian"]
KINDS = ["ascii", "binary", "binary_compressed"]
OPTIONS = point.MODALITY.options


def read(folder, name: str, data: bytes) -> np.ndarray:
    path = folder / name
    path.write_bytes(data)
    return point.read([path])


def reason(folder, name: str, data: bytes) -> str:
    with pytest.raises(SignalError) as caught:
        read(folder, name, data)
    assert name in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("order", ORDERS)
def test_ply_of_both_byte_orders_and_ascii(tmp_path, cloud, ply, order):
    signal = read(tmp_path, "cloud.ply", ply(cloud(), order))
    assert signal.dtype == np.float32
    assert np.allclose(signal, cloud(), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_pcd_of_all_three_kinds_with_packed_colour(tmp_path, cloud, pcd, kind):
    assert np.allclose(read(tmp_path, "cloud.pcd", pcd(cloud(), kind)), cloud(), atol=1e-6)


@pytest.mark.parametrize("layout", ["rows", "columns", "extra columns"])
def test_npy_in_either_orientation(tmp_path, cloud, npy, layout):
    array = {"rows": cloud(), "columns": cloud().T, "extra columns": np.hstack([cloud(), cloud()])}[layout]
    assert np.allclose(read(tmp_path, "cloud.npy", npy(array)), cloud(), atol=1e-6)


def test_npz_by_name(tmp_path, cloud):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, label=np.array([3]), points=cloud())
    assert np.allclose(read(tmp_path, "cloud.npz", buffer.getvalue()), cloud(), atol=1e-6)


def test_tensors_as_cap3d_has_them(tmp_path, cloud):
    torch = pytest.importorskip("torch")
    torch.save(torch.from_numpy(cloud().T.astype(np.float32)), tmp_path / "cloud.pt")
    assert np.allclose(point.read([tmp_path / "cloud.pt"]), cloud(), atol=1e-6)


def test_objects_in_a_tensor_file_are_refused_without_being_run(tmp_path):
    torch = pytest.importorskip("torch")

    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    torch.save(Harmful(), tmp_path / "cloud.pt")
    with pytest.raises(SignalError, match="more than tensors"):
        point.read([tmp_path / "cloud.pt"])
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 128, 255]] * 9, np.uint8), [0, 128 / 255, 1]),
        (np.array([[0, 32768, 65535]] * 9, np.dtype(">u2")), [0, 32768 / 65535, 1]),
        (np.array([[0.0, 0.5, 1.0]] * 9), [0, 0.5, 1]),
        (np.array([[0.0, 51.0, 255.0]] * 9), [0, 0.2, 1]),
        (np.array([[0, 51, 255]] * 9), [0, 0.2, 1]),
        (np.array([[0.6, -0.8, 0.0]] * 9), [0, 0, 0]),
    ],
)
def test_colours_of_every_range_become_0_to_1(values, expected):
    assert np.allclose(clouds.colors(values), expected)


def test_a_cloud_without_colours_is_black(tmp_path, cloud, npy):
    assert (read(tmp_path, "cloud.npy", npy(cloud()[:, :3]))[:, 3:] == 0).all()


def test_points_that_are_not_finite_are_dropped(tmp_path, cloud, npy, pcd):
    holes = cloud()
    holes[3, 0], holes[7, 2], holes[9, 4], holes[11, 1] = np.nan, np.inf, np.nan, 1e200
    kept = np.delete(cloud(), [3, 7, 9, 11], axis=0)
    assert np.allclose(read(tmp_path, "cloud.npy", npy(holes)), kept, atol=1e-6)
    holes[9, 4] = 0
    kept = np.delete(cloud(), [3, 7], axis=0)
    holes[11, 1] = cloud()[11, 1]
    assert len(read(tmp_path, "cloud.pcd", pcd(holes, "ascii"))) == len(kept)


@pytest.mark.parametrize(
    "points", [np.ones((50, 6)), np.full((50, 6), np.nan), np.zeros((1, 6)), np.zeros((0, 6))]
)
def test_a_cloud_at_one_place_is_refused(tmp_path, npy, points):
    assert reason(tmp_path, "cloud.npy", npy(points)) == "degenerate cloud"


def test_normalisation_equals_the_published_one(golden):
    values = point.to_input(golden["points.raw"], OPTIONS)
    assert np.abs(values[:900] - golden["points.normalised"]).max() < 1e-6
    assert (values[900:1800] == values[:900]).all()  # too few points are repeated in their order


def furthest_by_definition(xyz: np.ndarray, count: int) -> list[int]:
    chosen = [0]
    while len(chosen) < count:
        distances = [min(float(((p - xyz[c]) ** 2).sum()) for c in chosen) for p in xyz]
        chosen.append(int(np.argmax(distances)))
    return chosen


def test_furthest_points_follow_their_definition():
    xyz = np.random.default_rng(2).normal(size=(60, 3)).astype(np.float32)
    assert clouds.furthest_points(xyz, 20).tolist() == furthest_by_definition(xyz, 20)


@settings(deadline=None, max_examples=30)
@given(count=st.integers(2, 200), wanted=st.integers(1, 300), seed=st.integers(0, 50))
def test_any_cloud_becomes_an_input_of_points_it_has(count, wanted, seed):
    signal = point.canonical(np.random.default_rng(seed).uniform(-9, 9, size=(count, 6)))
    values = point.to_input(signal, {"points": wanted})
    assert values.shape == (wanted, 6)
    whole = clouds.centred(signal)
    assert {row.tobytes() for row in values} <= {row.tobytes() for row in whole}
    assert len(np.unique(values, axis=0)) == min(count, wanted)
    assert np.abs(whole[:, :3].mean(axis=0)).max() < 1e-5
    assert np.linalg.norm(whole[:, :3], axis=1).max() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_tiny_and_huge_units_do_no_harm(cloud, scale):
    small = point.canonical(cloud() * [scale, scale, scale, 1, 1, 1])
    assert np.allclose(clouds.centred(small), clouds.centred(cloud()), atol=1e-5)


def test_large_clouds_are_reduced_evenly_and_always_alike(tmp_path, npy):
    rng = np.random.default_rng(0)
    crowded = np.concatenate([rng.normal(0, 0.01, (150_000, 3)), rng.uniform(-1, 1, (50_000, 3))])
    data = npy(crowded.astype(np.float32))
    signal = read(tmp_path, "cloud.npy", data)
    assert signal.shape == (8192, 6)
    assert (signal == read(tmp_path, "cloud.npy", data)).all()
    near = (np.linalg.norm(signal[:, :3], axis=1) < 0.05).mean()
    assert near < 0.05  # three quarters of the file's points are there


def test_clouds_of_up_to_8192_points_keep_their_order(tmp_path, npy):
    points = np.random.default_rng(1).uniform(0, 1, (8192, 6)).astype(np.float32)
    assert (read(tmp_path, "cloud.npy", npy(points)) == points).all()


# Meshes


def exported(mesh, kind: str) -> bytes:
    data = mesh.export(file_type=kind)
    return data.encode() if isinstance(data, str) else data


def cube(trimesh):
    return trimesh.creation.box(extents=(2, 2, 2))


@pytest.mark.parametrize("kind", ["obj", "stl", "glb", "ply"])
def test_meshes_are_sampled_on_their_surface_by_area(tmp_path, kind):
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box(extents=(4, 2, 2))
    signal = read(tmp_path, f"box.{kind}", exported(box, kind))
    assert signal.shape == (8192, 6)
    distance = np.abs(np.abs(signal[:, :3]) - [2, 1, 1]).min(axis=1)
    assert distance.max() < 1e-5
    ends = (np.abs(np.abs(signal[:, 0]) - 2) < 1e-5).mean()
    assert ends == pytest.approx(8 / 40, abs=0.03)  # two faces of 4 among 40 of area


@pytest.mark.parametrize("kind", ["ply", "glb", "obj"])
def test_vertex_colours_are_interpolated(tmp_path, kind):
    trimesh = pytest.importorskip("trimesh")
    box = cube(trimesh)
    shade = ((box.vertices + 1) / 2 * 255).astype(np.uint8)
    box.visual.vertex_colors = np.hstack([shade, np.full((8, 1), 255, np.uint8)])
    signal = read(tmp_path, f"box.{kind}", exported(box, kind))
    assert np.abs(signal[:, 3:] - (signal[:, :3] + 1) / 2).max() < 0.02


def test_textures_inside_glb_are_seen(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    from PIL import Image

    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = (255, 0, 0), (0, 0, 255)
    square = trimesh.Trimesh(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture))
    square.visual = trimesh.visual.TextureVisuals(uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material)
    signal = read(tmp_path, "square.glb", square.export(file_type="glb"))
    left, right = signal[signal[:, 0] < 0.45], signal[signal[:, 0] > 0.55]
    assert np.allclose(left[:, 3:], [1, 0, 0], atol=0.05)
    assert np.allclose(right[:, 3:], [0, 0, 1], atol=0.05)


def test_an_obj_without_faces_gives_its_vertices(tmp_path):
    text = "v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 2 0 0 0 1\n"
    signal = read(tmp_path, "cloud.obj", text.encode())
    assert signal[:, :3].tolist() == [[0, 0, 0], [1, 0, 0], [0, 2, 0]]
    assert np.allclose(signal[:, 3:], np.eye(3), atol=0.01)


def test_files_that_a_mesh_names_are_not_opened(tmp_path, encoded):
    (tmp_path / "red.png").write_bytes(encoded(np.full((8, 8, 3), (255, 0, 0), np.uint8), "PNG"))
    (tmp_path / "red.mtl").write_text("newmtl red\nKd 1 0 0\nmap_Kd red.png\n")
    corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
    text = f"mtllib red.mtl\n{corners}usemtl red\nf 1/1 2/2 3/3\n"
    colors = read(tmp_path, "named.obj", text.encode())[:, 3:]
    assert (colors == colors[0, 0]).all()  # grey: nobody looked at the red file


# Hostile files: what a header promises is never allocated.


def test_ply_that_promises_a_thousand_million_points(tmp_path, ply, cloud):
    for order in ORDERS:
        data = ply(cloud(), order).replace(b"element vertex 50", b"element vertex 1000000000")
        assert reason(tmp_path, "cloud.ply", data) == "too large"
        data = ply(cloud(), order).replace(b"element vertex 50", b"element vertex 90")
        assert reason(tmp_path, "cloud.ply", data) == "unreadable file"


def test_pcd_that_promises_a_thousand_million_points(tmp_path, pcd, cloud):
    for kind in KINDS:
        data = pcd(cloud(), kind).replace(b"POINTS 50", b"POINTS 1000000000")
        assert reason(tmp_path, "cloud.pcd", data) in ("too large", "unreadable file")


def test_a_compressed_pcd_that_would_unpack_to_gigabytes(tmp_path, pcd, cloud):
    head, body = pcd(cloud(), "binary_compressed").split(b"binary_compressed\n")
    data = head + b"binary_compressed\n" + body[:4] + struct.pack("<I", 2**32 - 1) + body[8:]
    assert reason(tmp_path, "cloud.pcd", data) == "too large"


def test_arrays_that_promise_more_than_they_hold(tmp_path, npy):
    data = npy(np.zeros((10, 6)))
    assert reason(tmp_path, "a.npy", data.replace(b"(10, 6)", b"(9**9,6)"[:7])) == "unreadable file"
    assert reason(tmp_path, "b.npy", data.replace(b"(10, 6), ", b"(99999999, 6), "[:9])) == "unreadable file"
    header = data.replace(b"'shape': (10, 6), }      ", b"'shape': (999999999, 6),}")
    assert reason(tmp_path, "c.npy", header) == "too large"


def test_an_npz_that_would_unpack_to_gigabytes(tmp_path):
    buffer = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (200_000_000, 6)}
    )
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", header.getvalue() + b"\0" * 10_000_000)
    assert reason(tmp_path, "bomb.npz", buffer.getvalue()) == "too large"


def test_pickled_objects_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert reason(tmp_path, "objects.npy", buffer.getvalue()) == "unreadable file"


def test_a_glb_that_promises_more_than_it_holds(tmp_path):
    tree = json.dumps(
        {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
            "accessors": [{"componentType": 5126, "count": 10**9, "type": "VEC3"}],
        }
    ).encode()
    tree += b" " * (-len(tree) % 4)
    data = struct.pack("<4sIIII", b"glTF", 2, 20 + len(tree), len(tree), 0x4E4F534A) + tree
    assert reason(tmp_path, "bomb.glb", data) == "too large"


def test_meshes_with_too_many_faces_are_refused_before_they_are_drawn(tmp_path, monkeypatch):
    trimesh = pytest.importorskip("trimesh")
    monkeypatch.setattr(meshes, "MAX_FACES", 10)
    assert reason(tmp_path, "box.stl", cube(trimesh).export(file_type="stl")) == "too large"


# LZF


@settings(deadline=None, max_examples=100)
@given(st.binary(min_size=1, max_size=3000), st.integers(1, 30))
def test_lzf_undoes_an_independent_compressor(data, repeats):
    plain = data * repeats
    assert pcd_format.lzf_decompress(lzf_compress(plain), len(plain)) == plain


def lzf_compress(plain: bytes) -> bytes:
    """A plain LZF compressor: copies of what was seen at the last place with the same three bytes."""
    packed, literals, seen, place = bytearray(), bytearray(), {}, 0

    def flush() -> None:
        for start in range(0, len(literals), 32):
            run = literals[start : start + 32]
            packed.append(len(run) - 1)
            packed.extend(run)
        literals.clear()

    while place < len(plain):
        start = seen.get(plain[place : place + 3], -1)
        seen[plain[place : place + 3]] = place
        length = 0
        while start >= 0 and place + length < len(plain) and length < 264:
            if plain[start + length] != plain[place + length]:
                break
            length += 1
        distance = place - start - 1
        if length < 3 or distance >= 8192:
            literals.append(plain[place])
            place += 1
            continue
        flush()
        first, short = distance >> 8, length - 2
        packed.extend([short << 5 | first] if short < 7 else [7 << 5 | first, short - 7])
        packed.append(distance & 255)
        place += length
    flush()
    return bytes(packed)


@settings(deadline=None, max_examples=60)
@given(
    points=hnp.arrays(
        np.float32, st.tuples(st.integers(2, 40), st.just(3)), elements=st.floats(-100, 100, width=32)
    ),
    order=st.sampled_from(ORDERS),
    kind=st.sampled_from(KINDS),
)
def test_any_cloud_is_the_same_from_ply_and_pcd(tmp_path_factory, ply, pcd, points, order, kind):
    rows = np.hstack([points, np.full_like(points, 51 / 255)])
    if len(np.unique(points, axis=0)) < 2:
        return
    folder = tmp_path_factory.mktemp("clouds")
    one, other = read(folder, "c.ply", ply(rows, order)), read(folder, "c.pcd", pcd(rows, kind))
    assert (one[:, :3] == points).all()
    assert np.allclose(one, other, atol=1e-6)
