"""Products give the masks that they stand for, and folding the mask features into the queries changes nothing."""

import torch

from rein_core.mask2former import ReinMask2FormerHead


def test_full_maps_and_maps_of_pairs(factors):
    masks = torch.randn(2, 3, 4, 5, 6)
    products = factors(masks)
    torch.testing.assert_close(torch.stack([products.full(0), products.full(1)]), masks)
    layer, image, query = torch.tensor([1, 0, 1]), torch.tensor([0, 0, 2]), torch.tensor([3, 1, 2])
    of_pairs = products.of_pairs(layer, image, query, [2, 0, 1])
    torch.testing.assert_close(of_pairs, masks[layer, image, query])


def test_masks_are_those_of_the_mask_features():
    torch.manual_seed(0)
    head = ReinMask2FormerHead([8] * 4, 3, 32, num_queries=5, link_queries=False, num_decoder_layers=2).eval()
    torch.nn.init.normal_(head.pixel_decoder.mask_feature.bias)
    levels = [torch.randn(2, 8, 64 >> i, 96 >> i) for i in range(2, 6)]
    contents = []
    head.mask_embed.register_forward_hook(lambda _, inputs, output: contents.append(output))
    _, masks = head(levels)
    features = head.pixel_decoder.mask_feature(head.pixel_decoder(levels)[0])
    for embed, mask in zip(contents, masks, strict=True):
        torch.testing.assert_close(mask, torch.einsum("bqc,bchw->bqhw", embed, features), atol=1e-4, rtol=1e-4)


def test_levels_of_one_size_are_resized_after_their_convolution():
    torch.manual_seed(0)
    head = ReinMask2FormerHead([8] * 4, 3, 32, num_queries=5, link_queries=False, num_decoder_layers=2).eval()
    maps = [torch.randn(2, 8, 4, 6) for _ in range(4)]
    scales = zip(maps, (4.0, 2.0, 1.0, 0.5), strict=True)
    levels = [torch.nn.functional.interpolate(level, scale_factor=scale, mode="bilinear") for level, scale in scales]
    for of_maps, of_levels in zip(head(maps), head(levels), strict=True):
        torch.testing.assert_close(of_maps, of_levels, atol=1e-4, rtol=1e-4)
