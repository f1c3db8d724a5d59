"""Mathematics of fedgan: networks, losses, aggregation, metrics, partitions. No Flower, no files, no printing."""
