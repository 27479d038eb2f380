"""blackjax's side: `vmap` over the chains within `scan` over the steps, compiled whole, keys of jax's default kind.

Langevin is `sgld` with the score in closed form (its batch of data is not used: there are none). MALA and HMC take a
log density and differentiate it themselves: that is their interface. There is no loss to compare.
"""

from collections.abc import Callable, Mapping

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

from _peers.lines import MEANS, ROTATION, VARIANCES, WEIGHTS, Line
from _peers.serving import serve


class Blackjax:
    """See `serving.Side`."""

    def versions(self) -> Mapping[str, str]:
        return {"blackjax": blackjax.__version__, "jax": jax.__version__}

    def sampler(self, line: Line, start: np.ndarray, num_steps: int) -> Callable[[int], None]:
        x, run = jnp.asarray(start), _compiled(line, num_steps, keep=False)
        return lambda seed: jax.block_until_ready(run(x, jax.random.key(seed)))

    def states(self, line: Line, start: np.ndarray, num_steps: int, seed: int) -> np.ndarray:
        after = _compiled(line, num_steps, keep=True)(jnp.asarray(start), jax.random.key(seed))
        return np.concatenate((start[None], np.asarray(after)))

    def sliced_loss(self, x: np.ndarray) -> Callable[[], float]:
        raise ValueError("blackjax trains nothing: ask torchebm for a loss")


def _log_prob(line: Line) -> Callable:
    if line.target == "gauss100":
        precision = jnp.asarray(1 / VARIANCES, jnp.float32)
        return lambda x: -(precision * x * x).sum() / 2
    if line.target == "dense100":
        matrix = jnp.asarray((ROTATION / VARIANCES) @ ROTATION.T, jnp.float32)
        return lambda x: -(x @ (matrix @ x)) / 2
    means, log_weights = jnp.asarray(MEANS, jnp.float32), jnp.log(jnp.asarray(WEIGHTS, jnp.float32))
    return lambda x: jax.nn.logsumexp(log_weights - ((x - means) ** 2).sum(1) / 2)


def _mixture_score(x, _batch=None):
    means, log_weights = jnp.asarray(MEANS, jnp.float32), jnp.log(jnp.asarray(WEIGHTS, jnp.float32))
    return jax.nn.softmax(log_weights - ((x - means) ** 2).sum(1) / 2) @ means - x


def _compiled(line: Line, num_steps: int, keep: bool) -> Callable:
    """(x, key) -> the last states, or all of them with `keep`."""
    match line.sampler:
        case "langevin":
            sgld = blackjax.sgld(_mixture_score)
            init, position = lambda x: x, lambda state: state
            step = jax.vmap(lambda key, x: sgld.step(key, x, 0.0, line.step_size))
        case "mala":
            mala = blackjax.mala(_log_prob(line), line.step_size)
            init, position = jax.vmap(mala.init), lambda state: state.position
            step = jax.vmap(lambda key, state: mala.step(key, state)[0])
        case "hmc":
            hmc = blackjax.hmc(_log_prob(line), line.leapfrog_length, jnp.ones(line.size), line.num_leapfrog)
            init, position = jax.vmap(hmc.init), lambda state: state.position
            step = jax.vmap(lambda key, state: hmc.step(key, state)[0])

    def run(x, key):
        def one(state, key):
            state = step(jax.random.split(key, x.shape[0]), state)
            return state, position(state) if keep else None

        last, states = jax.lax.scan(one, init(x), jax.random.split(key, num_steps))
        return states if keep else position(last)

    return jax.jit(run)


if __name__ == "__main__":
    serve(Blackjax)
