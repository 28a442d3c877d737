"""Language models: one data path, one trainer on the public hooks of transformers' Trainer."""
