"""Between `PackedSequence` and padded, time-first tensors, in the rows' original order."""

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

__all__ = ["repack", "unpack"]


def unpack(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """Return the padded tensor (T, rows, D) and the lengths (rows,), both in the original order of the rows."""
    return pad_packed_sequence(packed)


def repack(outputs: Tensor, lengths: Tensor, like: PackedSequence) -> PackedSequence:
    """Pack (T, rows, H) exactly as `like` is packed: same order, same indices."""
    if like.sorted_indices is not None:
        outputs = outputs.index_select(1, like.sorted_indices)
        lengths = lengths.index_select(0, like.sorted_indices.cpu())
    packed = pack_padded_sequence(outputs, lengths)
    return PackedSequence(packed.data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)
