-- Converts many documents in one process, so that pandoc's start and its syntax tables are paid for once.
--
-- In: a JSON list of {text, from, to, filter, template, toc_depth, metadata}; out: a list of {text, messages}, where
-- messages are what pandoc and the filter warn of, a line each. Run as `pandoc lua convert.lua`. It opens no file but
-- the filter's: an empty list of files keeps the readers in a sandbox.

local function convert(job)
  local document = pandoc.read(job.text, job.from, nil, {})
  for key, value in pairs(job.metadata or {}) do document.meta[key] = value end
  if job.filter then
    FORMAT, PANDOC_SCRIPT_FILE = job.to, job.filter  -- what a filter finds when pandoc itself runs it
    -- Loaded anew each time, since it counts figures and tables.
    for _, pass in ipairs(dofile(job.filter)) do document = document:walk(pass) end
  end
  local options = {html_math_method='mathml', wrap_text='none'}
  if job.template then options.template = pandoc.template.compile(job.template) end
  if job.toc_depth then options.table_of_contents, options.toc_depth = true, job.toc_depth end
  return pandoc.write(document, job.to, options)
end

local answers = {}
for i, job in ipairs(pandoc.json.decode(io.read('a'), false)) do
  local messages, done, text = pandoc.log.silence(pcall, convert, job)
  local lines = {}
  for _, message in ipairs(messages) do lines[#lines + 1] = message.message end
  if not done then lines[#lines + 1] = tostring(text) end
  answers[i] = {text=done and text or '', messages=table.concat(lines, '\n')}
end
io.write(pandoc.json.encode(answers))
