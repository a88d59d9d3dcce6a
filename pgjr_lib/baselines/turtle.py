"""TURTLE: the labelling of features that a linear classifier learns best.

Gadetsky, Jiang and Brbic, "Let Go of Your Labels with Unsupervised Transfer", ICML 2024. Equation numbers are theirs.
Its one representation space here is the prior's embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pgjr_lib.evaluation import check_clusters

OUTER_STEPS = 6000  # T
INNER_STEPS = 10  # M, with a warm start: the inner classifier goes on from where the last outer step left it
GAMMA = 10.0  # weight of the entropy
LEARNING_RATE = 1e-3  # of Adam, in both loops
BATCH = 1000  # the authors' code takes 10,000; the sets here have that many images in all


@torch.enable_grad()  # the caller may have switched gradients off
def turtle(features: Tensor, k: int, seed: int = 0, device="cpu") -> Tensor:
    """Search the labelling tau(z) = softmax(theta z) that a linear classifier w predicts best on the same features.

    Args:
        features: (N, D) float32 on the CPU, the prior's embeddings as it gives them.
        k: number of clusters, at least 2.
        seed: of the two starts and the batches. It seeds torch's global generator.
        device: where to train; results repeat bit for bit on a CPU.

    Returns:
        (N, k) float32 on the CPU, the soft labels of every sample. Their argmax is the clustering.

    Raises:
        ValueError: k < 2, k > N, or features that are not finite.
    """
    check_clusters(features, k, least=2)
    torch.manual_seed(seed)
    task = weight_norm(nn.Linear(features.shape[1], k)).to(device)  # theta
    learner = nn.Linear(features.shape[1], k).to(device)  # w
    outer = torch.optim.Adam(task.parameters(), LEARNING_RATE)
    inner = torch.optim.Adam(learner.parameters(), LEARNING_RATE)
    features = features.float().to(device)
    for _ in range(OUTER_STEPS):
        z = features[torch.randperm(len(features))[:BATCH].to(device)]  # (B, D)
        tau = F.softmax(task(z), dim=1)  # Eq. (9): (B, k)
        for _ in range(INNER_STEPS):
            inner_step(learner, inner, z, tau.detach())
        outer.zero_grad()
        objective(learner(z).detach(), tau).backward()
        outer.step()
    with torch.no_grad():
        return F.softmax(task(features), dim=1).cpu()


def inner_step(learner: nn.Module, optimizer: torch.optim.Optimizer, z: Tensor, tau: Tensor) -> None:
    """Make one step of ``learner`` on the cross-entropy of (B, D) features with the soft labels tau (B, k)."""
    optimizer.zero_grad()
    F.cross_entropy(learner(z), tau).backward()
    optimizer.step()


def objective(logits: Tensor, tau: Tensor) -> Tensor:
    """Return equation 12: the learner's cross-entropy on tau, minus gamma times the entropy of the mean of tau.

    Args:
        logits: (B, k) of the learner, without gradient: the outer step is of first order.
        tau: (B, k) soft labels.
    """
    return F.cross_entropy(logits, tau) - GAMMA * torch.special.entr(tau.mean(0)).sum()
