"""The evangelist vector on models that hardly know its gospel."""
