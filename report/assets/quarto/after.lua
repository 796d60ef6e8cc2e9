-- What Quarto made of our pages, mended before it is written: tables that scroll by keyboard, attributes that are none.

local WORDS = {en='Table', zh='表格'}
local word = WORDS.en

local function read_language(meta)
  word = WORDS[pandoc.utils.stringify(meta.lang or 'en'):sub(1, 2)] or WORDS.en
end

local function frame(content, attributes)
  attributes[#attributes + 1] = {'tabindex', '0'}
  attributes[#attributes + 1] = {'role', 'group'}
  return pandoc.Div(content, pandoc.Attr('', {'table-frame'}, attributes))
end

-- A wide table scrolls inside its own frame, which the keyboard can reach; its caption stays where it is.
local function table_frame(block)
  return frame({block}, {{'aria-label', word}}), false
end

-- A figure with a drawing for narrow screens is a <picture> of both. emit_html.lua does the same.
local function image(element)
  local phone = element.attributes.phone
  if not phone then return nil end
  element.attributes.phone = nil
  return {
    pandoc.RawInline('html', ('<picture><source media="(max-width: 600px)" srcset="%s">'):format(phone)),
    element, pandoc.RawInline('html', '</picture>'),
  }
end

local function div(element)
  element.attributes.alt = nil  -- Quarto gives a figure's words to its frame, too, where HTML has no such attribute
  local caption = element.attributes['aria-describedby']
  if caption and #element.content == 1 and element.content[1].t == 'Table' then
    return frame(element.content, {{'aria-labelledby', caption}}), false
  end
  return element
end

return {{Meta = read_language}, {Image = image}, {traverse = 'topdown', Div = div, Table = table_frame}}
