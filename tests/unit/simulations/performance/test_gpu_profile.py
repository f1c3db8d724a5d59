"""Shares of a GPU's time, of kernels made up by hand."""

import pytest

from simulations.performance.gpu_profile import IDLE, KINDS, REST, Kernel, kind_of, shares


def test_kernels_are_of_the_first_kind_that_fits_their_name():
    names = {
        "sm90_xmma_fprop_implicit_gemm_f32": "convolutions",
        "void cutlass::Kernel2<gemm>": "matrix products",
        "Memcpy HtoD (Pageable -> Device)": "copies",
        "RowwiseMomentsCUDAKernel": REST,
        "void at::native::group_norm": "normalisations",
        "FusedAdamMathFunctor": "the optimiser",
    }
    assert {name: kind_of(name) for name in names} == names


def test_shares_and_idle_time_add_up():
    """0 to 4 a convolution, 2 to 6 a copy beside it, nothing to 8, then 2 of something: busy 8 of 10."""
    kernels = [Kernel("add", 8, 2), Kernel("cudnn", 0, 4), Kernel("Memcpy", 2, 4)]
    found = shares(kernels)
    assert found[IDLE] == pytest.approx(0.2)
    assert found["convolutions"] == found["copies"] == pytest.approx(0.4 * 0.8)
    assert found[REST] == pytest.approx(0.2 * 0.8)
    assert sum(found.values()) == pytest.approx(1)
    assert set(found) == {*KINDS, REST, IDLE}


def test_without_kernels_there_are_no_shares():
    assert shares([]) == {}
