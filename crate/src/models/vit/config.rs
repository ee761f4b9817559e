//! The sizes of a vision transformer, and those of published encoders.

use crate::error::{Error, Result};

/// The two layers between attentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// Linear, GELU, linear.
    Gelu {
        /// Numbers between the two layers.
        hidden: usize,
    },
    /// Linear to 2 · `hidden` numbers [a | b], SiLU(a) · b, linear (timm's `SwiGLUPacked`).
    SwiGlu {
        /// Numbers that the second layer takes.
        hidden: usize,
    },
}

impl Mlp {
    /// Numbers that the second layer takes.
    pub fn hidden(self) -> usize {
        match self {
            Mlp::Gelu { hidden } | Mlp::SwiGlu { hidden } => hidden,
        }
    }

    /// Numbers that the first layer makes.
    pub fn first(self) -> usize {
        match self {
            Mlp::Gelu { hidden } => hidden,
            Mlp::SwiGlu { hidden } => 2 * hidden,
        }
    }
}

/// A vision transformer's sizes, in timm's terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VitConfig {
    /// Side of the square image for which positions were trained, in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Width of a token (`embed_dim`).
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Heads of an attention.
    pub heads: usize,
    /// The layers between attentions.
    pub mlp: Mlp,
    /// Whether each branch is scaled by a vector (`init_values`).
    pub layer_scale: bool,
    /// Register tokens behind the class token (`reg_tokens`).
    pub registers: usize,
    /// Whether positions are added to class and register tokens too (not `no_embed_class`).
    pub embed_prefix: bool,
    /// ε of the layer normalisations.
    pub epsilon: f64,
}

impl VitConfig {
    fn plain(patch_size: usize, dim: usize, depth: usize, heads: usize) -> Self {
        VitConfig {
            image_size: 224,
            patch_size,
            dim,
            depth,
            heads,
            mlp: Mlp::Gelu { hidden: 4 * dim },
            layer_scale: false,
            registers: 0,
            embed_prefix: true,
            epsilon: 1e-6,
        }
    }

    /// ViT-B/16: 86 M parameters.
    pub fn base() -> Self {
        VitConfig::plain(16, 768, 12, 12)
    }

    /// ViT-L/16: 303 M parameters.
    pub fn large() -> Self {
        VitConfig::plain(16, 1024, 24, 16)
    }

    /// ViT-H/14: 631 M parameters.
    pub fn huge() -> Self {
        VitConfig::plain(14, 1280, 32, 16)
    }

    /// UNI (Chen et al., Nature Medicine 2024): ViT-L/16 with scaled branches.
    pub fn uni() -> Self {
        VitConfig { layer_scale: true, ..VitConfig::large() }
    }

    /// UNI2-h: patches of 14 pixels, 24 blocks of 1536, SwiGLU, 8 registers, positions for patches
    /// only; 681 M parameters.
    pub fn uni2_h() -> Self {
        VitConfig {
            mlp: Mlp::SwiGlu { hidden: 4096 },
            layer_scale: true,
            registers: 8,
            embed_prefix: false,
            ..VitConfig::plain(14, 1536, 24, 24)
        }
    }

    /// Tokens before those of the patches: the class token and the registers.
    pub fn prefix(&self) -> usize {
        1 + self.registers
    }

    /// Patches along a side of the image for which positions were trained.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Positions that the weights hold.
    pub fn positions(&self) -> usize {
        self.grid() * self.grid() + if self.embed_prefix { self.prefix() } else { 0 }
    }

    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// [`Error::Parameter`] naming the first that does not.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
            ("dim", self.dim),
            ("depth", self.depth),
            ("heads", self.heads),
            ("mlp.hidden", self.mlp.hidden()),
        ] {
            if value == 0 {
                return Err(Error::parameter(name, value, "must be at least 1"));
            }
        }
        if !self.dim.is_multiple_of(self.heads) {
            let reason = format!("must be a multiple of heads ({})", self.heads);
            return Err(Error::parameter("dim", self.dim, reason));
        }
        if !self.image_size.is_multiple_of(self.patch_size) {
            let reason = format!("must be a multiple of patch_size ({})", self.patch_size);
            return Err(Error::parameter("image_size", self.image_size, reason));
        }
        Ok(())
    }

    /// Names and shapes of the weights, as timm names them.
    pub fn weights(&self) -> Vec<(String, Vec<usize>)> {
        let (d, p) = (self.dim, self.patch_size);
        let mut all: Vec<(String, Vec<usize>)> = vec![
            ("cls_token".into(), vec![1, 1, d]),
            ("pos_embed".into(), vec![1, self.positions(), d]),
            ("patch_embed.proj.weight".into(), vec![d, 3, p, p]),
            ("patch_embed.proj.bias".into(), vec![d]),
        ];
        if self.registers > 0 {
            all.push(("reg_token".into(), vec![1, self.registers, d]));
        }
        for i in 0..self.depth {
            let mut add = |name: &str, shape: &[usize]| {
                all.push((format!("blocks.{i}.{name}"), shape.to_vec()));
            };
            for (name, out, inner) in [
                ("attn.qkv", 3 * d, d),
                ("attn.proj", d, d),
                ("mlp.fc1", self.mlp.first(), d),
                ("mlp.fc2", d, self.mlp.hidden()),
            ] {
                add(&format!("{name}.weight"), &[out, inner]);
                add(&format!("{name}.bias"), &[out]);
            }
            for name in ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"] {
                add(name, &[d]);
            }
            if self.layer_scale {
                add("ls1.gamma", &[d]);
                add("ls2.gamma", &[d]);
            }
        }
        all.extend(["norm.weight", "norm.bias"].map(|name| (name.into(), vec![d])));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in all weights.
    fn count(config: VitConfig) -> usize {
        config.weights().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn published_encoders_have_their_published_sizes() {
        // timm 1.0: sum(p.numel() for p in model.parameters()) with num_classes=0.
        assert_eq!(count(VitConfig::uni()), 303_350_784);
        assert_eq!(count(VitConfig::base()), 85_798_656);
        assert_eq!(count(VitConfig::huge()), 630_764_800);
        assert_eq!(count(VitConfig::uni2_h()), 681_394_176);
        assert_eq!(VitConfig::uni().positions(), 197);
        assert_eq!(VitConfig::uni2_h().positions(), 256);
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        for (config, name) in [
            (VitConfig { heads: 5, ..VitConfig::base() }, "dim"),
            (VitConfig { image_size: 225, ..VitConfig::base() }, "image_size"),
            (VitConfig { depth: 0, ..VitConfig::base() }, "depth"),
        ] {
            let e = config.check().unwrap_err().to_string();
            assert!(e.starts_with(name), "{e}");
        }
    }
}
