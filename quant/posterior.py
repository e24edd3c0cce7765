"""What is known of a mean after noisy observations: the normal-inverse-gamma posterior."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

from quant.student import student_cdf, student_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """What is known of the mean and the variance of a quantity.

    Given the variance, the mean is normal around ``m`` with that variance over ``kappa``; the
    variance is inverse gamma with ``alpha`` and ``beta``.

    Units: ``m`` in those of the observations, ``beta`` in their square; ``kappa`` counts
        observations, the prior's included.
    Source: Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution"; the consensus
        specification, part 7; vectors ``nig_updates``, ``nig_weighted``, ``nig_decay`` and
        ``posterior_predictive``.
    """

    m: float
    kappa: float
    alpha: float
    beta: float

    def update(self, x: float, *, weight: float = 1.0) -> Posterior:
        """Return what is known after one more observation, which may count for less than one."""
        kappa = self.kappa + weight
        return Posterior(
            m=(self.kappa * self.m + weight * x) / kappa,
            kappa=kappa,
            alpha=self.alpha + weight / 2.0,
            beta=self.beta + self.kappa * weight * (x - self.m) ** 2 / (2.0 * kappa),
        )

    def update_sums(self, *, n: float, total: float, squares: float) -> Posterior:
        """Return what is known after ``n`` observations of which only the sums are left.

        Edges: the same as ``update`` one after the other, up to rounding; none change nothing.
        """
        if n <= 0:
            return self
        mean = total / n
        kappa = self.kappa + n
        spread = max(squares - n * mean * mean, 0.0)  # rounding could leave it below 0
        pull = self.kappa * n * (mean - self.m) ** 2 / kappa
        return Posterior(
            m=(self.kappa * self.m + total) / kappa,
            kappa=kappa,
            alpha=self.alpha + n / 2.0,
            beta=self.beta + (spread + pull) / 2.0,
        )

    def decay(self, *, keep: float, prior: Posterior) -> Posterior:
        """Return what is left when what was learnt beyond the prior counts for ``keep`` of it."""
        second = 2.0 * self.beta + self.kappa * self.m**2
        second_prior = 2.0 * prior.beta + prior.kappa * prior.m**2
        kappa = prior.kappa + keep * (self.kappa - prior.kappa)
        first = prior.kappa * prior.m
        m = (first + keep * (self.kappa * self.m - first)) / kappa
        squares = second_prior + keep * (second - second_prior)
        return Posterior(
            m=m,
            kappa=kappa,
            alpha=prior.alpha + keep * (self.alpha - prior.alpha),
            beta=(squares - kappa * m**2) / 2.0,
        )

    @property
    def mean_scale(self) -> float:
        """The scale of the mean's Student t, which has 2 ``alpha`` degrees of freedom."""
        return sqrt(self.beta / (self.alpha * self.kappa))

    @property
    def next_scale(self) -> float:
        """The scale of the next observation's Student t."""
        return sqrt(self.beta * (self.kappa + 1.0) / (self.alpha * self.kappa))

    @property
    def mean_sd(self) -> float:
        """How uncertain the mean is; infinite up to 1 ``alpha``."""
        if self.alpha <= 1.0:
            return inf
        return sqrt(self.beta / (self.kappa * (self.alpha - 1.0)))

    def mean_quantile(self, share: float) -> float:
        """Return below which value the mean lies with that probability."""
        return self.m + self.mean_scale * student_quantile(share, 2.0 * self.alpha)

    def next_quantile(self, share: float) -> float:
        """Return below which value the next observation lies with that probability."""
        return self.m + self.next_scale * student_quantile(share, 2.0 * self.alpha)

    def mean_above(self, value: float = 0.0) -> float:
        """Return how probable it is that the mean lies above a value."""
        return student_cdf((self.m - value) / self.mean_scale, 2.0 * self.alpha)

    def next_above(self, value: float = 0.0) -> float:
        """Return how probable it is that the next observation lies above a value."""
        return student_cdf((self.m - value) / self.next_scale, 2.0 * self.alpha)
