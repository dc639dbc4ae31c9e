"""Training: `config.TrainConfig` and `loop.Trainer`.

Nothing is imported here, so that `crnn train --help` does not wait for torch.
"""
