//! Makes the table of who may call what of the option `flashsale.access.v1.access`, which every
//! method has, and says of every request which of its fields name the sale, the buyer and the
//! request id.

use std::{collections::BTreeMap, error::Error, fmt::Write as _};

use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, OneofDescriptor,
    Value,
};

const OPTION: &str = "flashsale.access.v1.access";

/// The option of one method, checked against its request.
struct Access {
    roles: Vec<&'static str>,
    services: Vec<String>,
    buyer_bound: bool,
    audited: bool,
    sale_field: Option<String>,
    sale_of_record: bool,
    buyer_field: Option<String>,
    buyer_of_record: bool,
}

/// The source of the table.
pub fn generate(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let mut rules = String::new();
    let mut scopes = BTreeMap::new();
    for service in pool.services() {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let access =
                Access::of(pool, &method).map_err(|problem| format!("{path}: {problem}"))?;
            writeln!(rules, "    {},", access.rule(&path))?;
            let scope = if method.is_client_streaming() {
                access.scope_of_first(&method.input())
            } else {
                Ok(access.scope(&method.input(), "self"))
            };
            let scope = scope.map_err(|problem| format!("{path}: {problem}"))?;
            scopes.insert(method.input().full_name().to_owned(), scope);
            // Answers are not inspected.
            scopes.entry(method.output().full_name().to_owned()).or_insert_with(String::new);
        }
    }
    let mut source =
        format!("/// The rule of every method.\npub static RULES: &[Rule] = &[\n{rules}];\n");
    for (message, scope) in scopes {
        let rust = message.replace('.', "::");
        let scope = if scope.is_empty() {
            scope
        } else {
            format!("\n    fn scope(&self) -> Option<Scope<'_>> {{\n        {scope}\n    }}\n")
        };
        write!(source, "\nimpl Scoped for crate::{rust} {{{scope}}}\n")?;
    }
    Ok(source)
}

impl Access {
    fn of(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Self, String> {
        let option = pool.get_extension_by_name(OPTION).ok_or("the option is not defined")?;
        let options = method.options();
        if !options.has_extension(&option) {
            return Err(format!("it does not say who may call it: it needs the option ({OPTION})"));
        }
        let value = options.get_extension(&option);
        let access = value.as_message().ok_or("the option is not a message")?;
        let access = Self {
            roles: roles(access)?,
            services: texts(access, "services"),
            buyer_bound: truth(access, "buyer_bound"),
            audited: truth(access, "audited"),
            sale_field: text(access, "sale_field"),
            sale_of_record: truth(access, "sale_of_record"),
            buyer_field: text(access, "buyer_field"),
            buyer_of_record: truth(access, "buyer_of_record"),
        };
        access.check(&method.input())?;
        let is_of_one = access.sale_field.is_some()
            || access.sale_of_record
            || access.buyer_bound
            || access.buyer_field.is_some()
            || access.buyer_of_record;
        if method.is_client_streaming() && is_of_one {
            return Err("its requests come as a stream, of which only the first is inspected: it \
                        cannot be about one sale or one buyer"
                .to_owned());
        }
        Ok(access)
    }

    fn check(&self, request: &MessageDescriptor) -> Result<(), String> {
        if self.roles.is_empty() && self.services.is_empty() {
            return Err("no caller may make it: it names neither roles nor services".to_owned());
        }
        if self.buyer_bound && self.buyer_field.is_none() {
            return Err("it is bound to a buyer and has no buyer_field".to_owned());
        }
        if self.sale_field.is_some() && self.sale_of_record {
            return Err("it has a sale_field and sale_of_record: one of them counts".to_owned());
        }
        if self.buyer_field.is_some() && self.buyer_of_record {
            return Err("it has a buyer_field and buyer_of_record: one of them counts".to_owned());
        }
        for (usual, option, named) in [
            ("sale_id", "sale_field", &self.sale_field),
            ("buyer_id", "buyer_field", &self.buyer_field),
        ] {
            match named {
                Some(named) => {
                    let field = request.get_field_by_name(named);
                    let fits = field.is_some_and(|it| it.kind() == Kind::String && !it.is_list());
                    if !fits {
                        return Err(format!(
                            "{option} names {named}, which is no text of its request"
                        ));
                    }
                }
                None if request.get_field_by_name(usual).is_some() => {
                    return Err(format!("its request has a {usual}, which {option} does not name"));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// A value of the type `Rule`.
    fn rule(&self, path: &str) -> String {
        let roles: Vec<String> = self.roles.iter().map(|role| format!("Role::{role}")).collect();
        let sale = match &self.sale_field {
            Some(field) => format!("SaleOf::Field({field:?})"),
            None if self.sale_of_record => "SaleOf::Record".to_owned(),
            None => "SaleOf::None".to_owned(),
        };
        let buyer = match &self.buyer_field {
            Some(field) => format!("BuyerOf::Field({field:?})"),
            None if self.buyer_of_record => "BuyerOf::Record".to_owned(),
            None => "BuyerOf::None".to_owned(),
        };
        format!(
            "Rule {{ path: {path:?}, roles: &[{}], services: &{:?}, buyer_bound: {}, audited: {}, \
             sale: {sale}, buyer: {buyer} }}",
            roles.join(", "),
            self.services,
            self.buyer_bound,
            self.audited,
        )
    }

    /// Whom a stream is for: what its first message says, the one that has a message in its oneof.
    /// The others are parts, of which none is inspected.
    fn scope_of_first(&self, request: &MessageDescriptor) -> Result<String, String> {
        let of_message = |oneof: OneofDescriptor| {
            let first = oneof.fields().find_map(|field| {
                let Kind::Message(message) = field.kind() else { return None };
                Some((field.name().to_owned(), message))
            })?;
            Some((oneof.name().to_owned(), first))
        };
        let (oneof, (field, first)) = request
            .oneofs()
            .find_map(of_message)
            .ok_or("its requests come as a stream without a message that begins it")?;
        let package = request.package_name().replace('.', "::");
        let (module, kind, variant) = (snake(request.name()), camel(&oneof), camel(&field));
        let scope = self.scope(&first, "first");
        Ok(format!(
            "let Some(crate::{package}::{module}::{kind}::{variant}(first)) = &self.{oneof} else {{\n            \
             return None;\n        }};\n        {scope}"
        ))
    }

    /// Whom a request is for, of which the value is called `value`.
    fn scope(&self, request: &MessageDescriptor, value: &str) -> String {
        let of = |field: Option<&str>| {
            field.map_or_else(|| "\"\"".to_owned(), |field| format!("&{value}.{field}"))
        };
        let field = |name: &'static str| request.get_field_by_name(name).map(|_| name);
        let request_id = field("request_id");
        let record = field("order_id");
        let number = field("dead_letter_id")
            .map_or_else(|| "0".to_owned(), |field| format!("{value}.{field}"));
        format!(
            "Some(Scope {{ sale: {}, buyer: {}, request_id: {}, record: {}, number: {number} }})",
            of(self.sale_field.as_deref()),
            of(self.buyer_field.as_deref()),
            of(request_id),
            of(record),
        )
    }
}

/// `ImportSaleRequest` as the module `import_sale_request`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// `first_part` as the variant `FirstPart`.
fn camel(name: &str) -> String {
    let words = name.split('_').filter_map(|word| word.split_at_checked(1));
    words.map(|(first, rest)| first.to_ascii_uppercase() + rest).collect()
}

fn roles(access: &DynamicMessage) -> Result<Vec<&'static str>, String> {
    let value = access.get_field_by_name("roles");
    let numbers = value.as_deref().and_then(Value::as_list).unwrap_or_default();
    numbers
        .iter()
        .map(|number| match number.as_enum_number() {
            Some(1) => Ok("Shop"),
            Some(2) => Ok("Operator"),
            Some(3) => Ok("Anyone"),
            other => Err(format!("{other:?} is not a role")),
        })
        .collect()
}

fn texts(access: &DynamicMessage, field: &str) -> Vec<String> {
    let value = access.get_field_by_name(field);
    let texts = value.as_deref().and_then(Value::as_list).unwrap_or_default();
    texts.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text(access: &DynamicMessage, field: &str) -> Option<String> {
    let value = access.get_field_by_name(field)?;
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn truth(access: &DynamicMessage, field: &str) -> bool {
    access.get_field_by_name(field).and_then(|value| value.as_bool()).unwrap_or(false)
}
