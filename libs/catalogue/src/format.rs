//! Which shop a file comes from, by the names of its columns.

/// What a file is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Shopify's product CSV, with its names of columns of old or the present ones.
    Shopify,
    /// WooCommerce's product CSV.
    WooCommerce,
    /// BigCommerce's product CSV, of its present export or the legacy one.
    BigCommerce,
    /// Our CSV: `sku,title,price,quantity,per_buyer_limit`.
    Csv,
    /// Our JSON: an array of objects with the same names.
    Json,
}

impl Format {
    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Shopify, Self::WooCommerce, Self::BigCommerce, Self::Csv, Self::Json];
        all.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// Its name, as `--format` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shopify => "shopify",
            Self::WooCommerce => "woocommerce",
            Self::BigCommerce => "bigcommerce",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    /// What to call a file of it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Shopify => "a product export of Shopify",
            Self::WooCommerce => "a product export of WooCommerce",
            Self::BigCommerce => "a product export of BigCommerce",
            Self::Csv => "a list in our own CSV",
            Self::Json => "a list in our own JSON",
        }
    }
}

/// What the names of the columns say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recognised {
    /// Products.
    As(Format),
    /// Shopify's stock by location, without prices.
    ShopifyInventory,
    /// No format that is read here.
    Unknown,
}

/// Recognises a header.
pub(crate) fn recognise(header: &[String]) -> Recognised {
    let has = |name: &str| header.iter().any(|column| column.eq_ignore_ascii_case(name));
    let any = |names: &[&str]| names.iter().any(|name| has(name));
    if has("item type") || any(&["product code/sku", "product visible?"]) {
        return Recognised::As(Format::BigCommerce);
    }
    if has("item") && any(&["inventory tracking", "options", "current stock"]) {
        return Recognised::As(Format::BigCommerce);
    }
    if has("regular price") && any(&["type", "name", "parent", "sku"]) {
        return Recognised::As(Format::WooCommerce);
    }
    if any(&["handle", "url handle"]) {
        let price = any(&["variant price", "price"]);
        if !price && any(&["location", "coo", "hs code", "on hand (current)"]) {
            return Recognised::ShopifyInventory;
        }
        if any(&["variant price", "variant sku", "option1 value"])
            || (has("title") && price)
            || (price && !has("sku"))
        {
            return Recognised::As(Format::Shopify);
        }
    }
    if has("sku") && has("price") {
        return Recognised::As(Format::Csv);
    }
    Recognised::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(header: &str) -> Recognised {
        let header: Vec<String> = header.split(',').map(str::to_owned).collect();
        recognise(&header)
    }

    #[test]
    fn a_file_is_recognised_by_its_columns() {
        for (header, format) in [
            ("Handle,Title,Variant SKU,Variant Price", Format::Shopify),
            ("Title,URL handle,SKU,Price,Option1 value", Format::Shopify),
            ("handle,variant price", Format::Shopify),
            ("ID,Type,SKU,Name,Published,Regular price", Format::WooCommerce),
            ("Item Type,Product Name,Product Code/SKU,Price", Format::BigCommerce),
            ("Item,ID,Name,SKU,Options,Inventory Tracking,Price", Format::BigCommerce),
            ("sku,title,price,quantity", Format::Csv),
            ("PRICE,SKU", Format::Csv),
        ] {
            assert_eq!(recognised(header), Recognised::As(format), "{header}");
        }
        let inventory = "Handle,Title,Option1 Name,Option1 Value,SKU,HS Code,COO,Location";
        assert_eq!(recognised(inventory), Recognised::ShopifyInventory);
        assert_eq!(recognised("a"), Recognised::Unknown);
        assert_eq!(recognised("name,price"), Recognised::Unknown);
    }

    #[test]
    fn formats_have_names() {
        for name in ["shopify", "woocommerce", "bigcommerce", "csv", "json"] {
            assert_eq!(Format::from_name(name).map(Format::name), Some(name));
        }
        assert_eq!(Format::from_name("magento"), None);
    }
}
