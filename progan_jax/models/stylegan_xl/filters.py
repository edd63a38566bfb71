"""Low-pass filters of the layers, in float64 NumPy.

SciPy is imported where it is used: other families are sampled without it. Source:
Karras et al. 2021, section 3.2 and appendix C.1.
"""

import numpy as np


def lowpass(taps: int, cutoff: float, half_width: float, rate: float) -> np.ndarray:
    """Returns a sinc in a Kaiser window, [taps], whose sum is 1.

    Args:
      taps: Length; 1 gives the identity.
      cutoff: Where the response has fallen to a half, in the unit of `rate`.
      half_width: Half the width of the transition band around it.
      rate: Samples per unit of length.
    """
    if taps == 1:
        return np.ones(1)
    from scipy.signal import firwin

    kernel = firwin(taps, cutoff, width=2 * half_width, fs=rate)
    return np.asarray(kernel)


def radial_lowpass(
    taps: int, cutoff: float, half_width: float, rate: float
) -> np.ndarray:
    """Returns a jinc in the product of two Kaiser windows, [taps, taps], of sum 1.

    It is the ideal filter of a disc of frequencies. Arguments are those of `lowpass`,
    with an even number of taps.
    """
    from scipy.signal import kaiser_atten, kaiser_beta
    from scipy.special import j1

    places = (np.arange(taps) - (taps - 1) / 2) / rate
    radii = np.hypot(places[:, None], places[None])
    jinc = j1(2 * np.pi * cutoff * radii) / (np.pi * radii)
    attenuation = kaiser_atten(taps, 2 * half_width / (rate / 2))
    window = np.kaiser(taps, kaiser_beta(attenuation))
    kernel = jinc * np.outer(window, window)
    return kernel / kernel.sum()
