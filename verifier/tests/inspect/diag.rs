//! CBOR's diagnostic notation (RFC 8949 §8), as far as the drafts' examples use
//! it: comments between slashes, `<< … >>`, byte strings over several lines, a
//! comma after the last entry or none between two. A name that stands for a number to be assigned
//! is null.

use ciborium::Value;

/// The CBOR of a text, deterministic only as far as the text is.
pub(super) fn encode(text: &str) -> Result<Vec<u8>, String> {
    let mut reader = Reader { rest: text };
    let value = reader.item()?;
    reader.space()?;
    if !reader.rest.is_empty() {
        return Err(format!("text after the item: {:.20}", reader.rest));
    }
    Ok(bytes(&value))
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) -> Result<(), String> {
        loop {
            self.rest = self.rest.trim_start();
            let Some(comment) = self.rest.strip_prefix('/') else {
                return Ok(());
            };
            let (_, rest) = comment.split_once('/').ok_or("a comment without end")?;
            // `/*** … ***/` is one too.
            self.rest = rest;
        }
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &str {
        let len = self
            .rest
            .find(|c: char| !c.is_alphanumeric() && c != '-' && c != '+' && c != '.')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(len);
        self.rest = rest;
        word
    }

    fn item(&mut self) -> Result<Value, String> {
        self.space()?;
        if self.take("{") {
            let entries = self.list("}", |reader| {
                let key = reader.item()?;
                reader.space()?;
                if !reader.take(":") {
                    return Err("no colon".to_owned());
                }
                Ok((key, reader.item()?))
            })?;
            return Ok(Value::Map(entries));
        }
        if self.take("[") {
            return Ok(Value::Array(self.list("]", Self::item)?));
        }
        if self.take("<<") {
            let items = self.list(">>", Self::item)?;
            return Ok(Value::Bytes(items.iter().flat_map(bytes).collect()));
        }
        if self.take("h'") {
            let (digits, rest) = self.rest.split_once('\'').ok_or("a string without end")?;
            let digits: String = digits.split_whitespace().collect();
            self.rest = rest;
            return hex::decode(digits)
                .map(Value::Bytes)
                .map_err(|e| e.to_string());
        }
        if self.take("\"") {
            let (text, rest) = self.rest.split_once('"').ok_or("a string without end")?;
            self.rest = rest;
            return Ok(Value::Text(text.to_owned()));
        }
        let word = self.word().to_owned();
        match word.as_str() {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "null" => return Ok(Value::Null),
            "" => return Err(format!("no item: {:.20}", self.rest)),
            _ => {}
        }
        let Ok(number) = word.parse::<i64>() else {
            return Ok(Value::Null);
        };
        if !self.take("(") {
            return Ok(number.into());
        }
        let tag = number.try_into().map_err(|_| "a negative tag")?;
        let inner = self.item()?;
        self.space()?;
        if !self.take(")") {
            return Err("a tag without end".to_owned());
        }
        Ok(Value::Tag(tag, Box::new(inner)))
    }

    fn list<T>(
        &mut self,
        end: &str,
        item: impl Fn(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut items = Vec::new();
        loop {
            self.space()?;
            if self.take(end) {
                return Ok(items);
            }
            items.push(item(self)?);
            self.space()?;
            // draft-ietf-cbor-edn-literals §2: commas may be left out.
            self.take(",");
        }
    }
}
